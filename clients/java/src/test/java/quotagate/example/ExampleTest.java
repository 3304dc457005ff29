package quotagate.example;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Test;

class ExampleTest {
  @Test
  void theExampleDeletesAsManyAsSalesforceAllows() throws Exception {
    try (Programs programs = new Programs()) {
      ByteArrayOutputStream said = new ByteArrayOutputStream();
      Example.run(
          programs.server,
          programs.salesforce,
          new PrintStream(said, true, StandardCharsets.UTF_8));
      List<String> lines = said.toString(StandardCharsets.UTF_8).lines().toList();
      assertEquals(12, lines.size(), lines::toString);
      assertEquals("conversation 10: 204", lines.get(9));
      assertEquals("conversation 11: not sent, DENIAL_REASON_EXECUTION_USER_LIMIT", lines.get(10));
      assertTrue(lines.get(11).matches("again in (59|60) min"), lines.get(11));
      JsonObject seen = JsonParser.parseString(programs.seen()).getAsJsonObject();
      assertEquals(10, seen.get("arrivals").getAsInt());
      assertEquals(0, seen.get("refused").getAsInt());
    }
  }
}

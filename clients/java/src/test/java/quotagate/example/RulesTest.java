package quotagate.example;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.util.Optional;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

class RulesTest {
  @TestFactory
  Stream<DynamicTest> theRulesTellWhatARequestIs() throws IOException {
    String text = Files.readString(Programs.CONFORMANCE.resolve("scenarios.json"));
    var vectors = JsonParser.parseString(text).getAsJsonObject().getAsJsonArray("classify");
    return StreamSupport.stream(vectors.spliterator(), false).map(RulesTest::check);
  }

  private static DynamicTest check(JsonElement element) {
    JsonObject vector = element.getAsJsonObject();
    String method = vector.get("method").getAsString();
    String url = vector.get("url").getAsString();
    String body = vector.has("body") ? vector.get("body").getAsString() : "";
    Optional<Rules.Call> wanted =
        vector.get("operation").isJsonNull()
            ? Optional.empty()
            : Optional.of(
                new Rules.Call(
                    vector.get("operation").getAsString(), vector.get("cost").getAsInt()));
    return dynamicTest(
        method + " " + url,
        () -> assertEquals(wanted, Rules.callOf(method, URI.create(url).getPath(), body)));
  }
}

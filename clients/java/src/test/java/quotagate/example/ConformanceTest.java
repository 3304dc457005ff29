package quotagate.example;

import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

class ConformanceTest {
  private static Programs programs;

  @BeforeAll
  static void start() throws IOException {
    programs = new Programs();
  }

  @AfterAll
  static void stop() {
    programs.close();
  }

  @TestFactory
  Stream<DynamicTest> scenarios() throws IOException {
    String text = Files.readString(Programs.CONFORMANCE.resolve("scenarios.json"));
    var scenarios = JsonParser.parseString(text).getAsJsonObject().getAsJsonArray("scenarios");
    return StreamSupport.stream(scenarios.spliterator(), false)
        .map(element -> element.getAsJsonObject())
        .map(s -> dynamicTest(s.get("name").getAsString(), () -> play(s)));
  }

  private static void play(JsonObject scenario) throws Exception {
    try (Scenario play = new Scenario(programs, scenario.get("org").getAsString())) {
      int number = 0;
      for (var step : scenario.getAsJsonArray("steps")) {
        number++;
        try {
          play.step(step.getAsJsonObject());
        } catch (AssertionError e) {
          throw new AssertionError("step " + number + ": " + e.getMessage(), e);
        }
      }
    }
  }
}

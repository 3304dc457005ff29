package quotagate.example;

import com.google.gson.JsonElement;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Tells Salesforce's calls by method and path. */
final class Rules {
  private static final Pattern DATA_API = Pattern.compile("^services/data/v[0-9.]+(/|$)");
  private static final Pattern LOGIN = Pattern.compile("<([\\w.-]+:)?login[\\s/>]");
  private static final int MOST_COST = 10_000;

  private Rules() {}

  /** An operation of the service's catalogue, and the units of the org's total that it takes. */
  record Call(String operation, int cost) {}

  /** What the request needs a permit for; empty if it is no call of the API. */
  static Optional<Call> callOf(String method, String rawPath, String body) {
    String path = rawPath.replaceAll("^/+|/+$", "");
    boolean below = path.startsWith("services/");
    Matcher data = DATA_API.matcher(path);
    boolean versioned = data.find();
    String resource = versioned ? path.substring(data.end()) : path;
    if (versioned || !below) {
      String name = resource.replaceFirst("^connect/", "").replaceFirst("/.*", "");
      switch (method + " " + name) {
        case "GET conversation-entries":
          return Optional.of(new Call("conversation-entries.get", 1));
        case "DELETE conversation-participants":
          return Optional.of(new Call("conversation-participants.delete", 1));
        case "DELETE conversations":
          return Optional.of(new Call("conversations.delete", 1));
        default:
          break;
      }
    }
    boolean login = (path + "/").startsWith("services/Soap/") && LOGIN.matcher(body).find();
    if (!below
        || login
        || path.equals("services/data")
        || (path + "/").startsWith("services/oauth2/")) {
      return Optional.empty();
    }
    boolean batch = versioned && method.equals("POST") && resource.equals("composite/batch");
    return Optional.of(new Call("rest", batch ? batchSize(body) : 1));
  }

  private static int batchSize(String body) {
    try {
      JsonElement parts = JsonParser.parseString(body).getAsJsonObject().get("batchRequests");
      return Math.min(Math.max(parts.getAsJsonArray().size(), 1), MOST_COST);
    } catch (JsonParseException | IllegalStateException | NullPointerException e) {
      return 1; // no such JSON
    }
  }
}

package quotagate.example;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.protobuf.Timestamp;
import com.google.protobuf.util.Durations;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Optional;
import quotagate.v1.Quota.AcquireRequest;
import quotagate.v1.Quota.ReportRequest;

/** Calls Salesforce: takes a permit before each request, and reports the answer. */
final class Salesforce {
  private static final int MOST_MESSAGE = 1024;
  private static final int MOST_LIMIT_INFO = 8;

  static {
    // One permit is one request on the wire: by itself, the library would send some again.
    System.setProperty("jdk.httpclient.redirects.retrylimit", "1");
  }

  // A permit's time goes on while its request waits for a connection, and nothing may be sent
  // long after it.
  private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(2);

  private final HttpClient http = // follows no redirects
      HttpClient.newBuilder().connectTimeout(CONNECT_TIMEOUT).build();
  private final Quotagate quotagate;
  private final AcquireRequest asks;
  private final String session;

  /**
   * @param asks for whom: org, workspace, class, and the user whose session it is
   * @param session the access token of that user
   */
  Salesforce(Quotagate quotagate, AcquireRequest asks, String session) {
    this.quotagate = quotagate;
    this.asks = asks;
    this.session = session;
  }

  /** The request was not sent, for lack of a permit. */
  static final class NoPermitException extends IOException {
    NoPermitException(Exception cause) {
      super(cause.getMessage(), cause);
    }
  }

  /** Sends one request. */
  HttpResponse<String> send(String method, URI uri, String body)
      throws IOException, InterruptedException {
    HttpRequest request =
        HttpRequest.newBuilder(uri)
            .method(method, HttpRequest.BodyPublishers.ofString(body))
            .header("Authorization", "Bearer " + session)
            .timeout(Duration.ofSeconds(30))
            .build();
    Optional<Rules.Call> call = Rules.callOf(method, uri.getPath(), body);
    if (call.isEmpty()) {
      return http.send(request, HttpResponse.BodyHandlers.ofString());
    }
    AcquireRequest wanted =
        asks.toBuilder().setOperation(call.get().operation()).setCost(call.get().cost()).build();
    try (Permit permit = quotagate.acquire(wanted)) {
      return sendWith(permit, request);
    } catch (Quotagate.DeniedException | StatusRuntimeException e) {
      throw new NoPermitException(e);
    }
  }

  private HttpResponse<String> sendWith(Permit permit, HttpRequest request)
      throws IOException, InterruptedException {
    int ordinal = permit.start();
    try {
      HttpResponse<String> response = http.send(request, HttpResponse.BodyHandlers.ofString());
      permit.report(ordinal, reportOf(response));
      return response;
    } catch (ConnectException | HttpConnectTimeoutException e) {
      permit.unstart(); // nothing has left, so it comes back
      throw e;
    }
  }

  /** What the service wants to know of an answer that has just come. */
  static ReportRequest.Builder reportOf(HttpResponse<String> response) {
    ReportRequest.Builder report =
        ReportRequest.newBuilder()
            .setHttpStatus(response.statusCode())
            .setCompletedAgo(Durations.fromNanos(0));
    response.headers().allValues("Sforce-Limit-Info").stream()
        .filter(value -> value.length() <= MOST_MESSAGE)
        .limit(MOST_LIMIT_INFO)
        .forEach(report::addLimitInfo);
    Optional<Instant> date = response.headers().firstValue("Date").flatMap(Salesforce::date);
    date.ifPresent(
        at -> report.setAnswerTime(Timestamp.newBuilder().setSeconds(at.getEpochSecond())));
    response
        .headers()
        .firstValue("Retry-After")
        .flatMap(value -> retryAfter(value, date.orElseGet(Instant::now)))
        .ifPresent(wait -> report.setRetryAfter(Durations.fromSeconds(wait.toSeconds())));
    if (response.statusCode() >= 400) {
      readError(response.body(), report);
    }
    return report;
  }

  private static void readError(String body, ReportRequest.Builder report) {
    report.setErrorMessage(cut(body));
    try {
      JsonElement read = JsonParser.parseString(body);
      JsonObject fault =
          (read.isJsonArray() ? read.getAsJsonArray().get(0) : read).getAsJsonObject();
      String[] names =
          fault.has("errorCode")
              ? new String[] {"errorCode", "message"}
              : new String[] {"error", "error_description"};
      if (fault.has(names[0])) {
        report.setErrorCode(cut(fault.get(names[0]).getAsString()));
        report.setErrorMessage(fault.has(names[1]) ? cut(fault.get(names[1]).getAsString()) : "");
      }
    } catch (JsonParseException
        | IllegalStateException
        | UnsupportedOperationException
        | IndexOutOfBoundsException e) {
      // It is no JSON of Salesforce's: the text is the message.
    }
  }

  /** At most as much as the service takes; a character has at most three bytes of UTF-8 here. */
  private static String cut(String text) {
    return text.substring(0, Math.min(text.length(), MOST_MESSAGE / 3));
  }

  private static Optional<Duration> retryAfter(String value, Instant answered) {
    if (value.matches("[0-9]{1,9}")) {
      return Optional.of(Duration.ofSeconds(Long.parseLong(value)));
    }
    return date(value)
        .map(at -> Duration.between(answered, at))
        .map(wait -> wait.isNegative() ? Duration.ZERO : wait);
  }

  private static Optional<Instant> date(String value) {
    try {
      return Optional.of(
          ZonedDateTime.parse(value, DateTimeFormatter.RFC_1123_DATE_TIME).toInstant());
    } catch (DateTimeException e) {
      return Optional.empty();
    }
  }
}

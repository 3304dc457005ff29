package quotagate.example;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.Duration;
import com.google.protobuf.util.Durations;
import com.google.rpc.BadRequest;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import quotagate.v1.Quota;
import quotagate.v1.Quota.AcquireMode;
import quotagate.v1.Quota.AcquireRequest;
import quotagate.v1.Quota.AcquireResponse;
import quotagate.v1.Quota.ClassRunState;
import quotagate.v1.Quota.ClassState;
import quotagate.v1.Quota.Denial;
import quotagate.v1.Quota.ExecutionUserUsage;
import quotagate.v1.Quota.GetUsageRequest;
import quotagate.v1.Quota.LimitUsage;
import quotagate.v1.Quota.OrgUsage;
import quotagate.v1.Quota.ReleaseRequest;
import quotagate.v1.Quota.ReportRequest;
import quotagate.v1.Quota.ReportResponse;
import quotagate.v1.Quota.TrafficClass;
import quotagate.v1.Quota.WorkspaceUsage;

/** Runs the steps of one scenario; clients/conformance/README.md says what they mean. */
final class Scenario implements AutoCloseable {
  private static final java.time.Duration TIMEOUT = java.time.Duration.ofSeconds(5);
  private static final java.time.Duration PATIENCE = java.time.Duration.ofSeconds(5);

  private final Programs programs;
  private final String org;
  private final Quotagate quotagate;
  private final Map<String, String> ids = new HashMap<>();

  Scenario(Programs programs, String org) {
    this.programs = programs;
    this.org = org;
    this.quotagate = new Quotagate(programs.server, "conformance", TIMEOUT);
  }

  @Override
  public void close() {
    quotagate.close();
  }

  void step(JsonObject step) throws Exception {
    JsonObject expect = step.getAsJsonObject("expect");
    String as = text(step, "as");
    for (String key : step.keySet()) {
      switch (key) {
        case "acquire" -> acquire(request(step.getAsJsonObject(key)), expect, as);
        case "check" ->
            acquire(
                request(step.getAsJsonObject(key)).setMode(AcquireMode.ACQUIRE_MODE_CHECK_ONLY),
                expect,
                as);
        case "release" -> release(step.getAsJsonObject(key), expect);
        case "report" -> report(step.getAsJsonObject(key), expect);
        case "usage" -> usage(step.getAsJsonObject(key), expect);
        case "guard" -> guard(step.getAsJsonObject(key), expect, as);
        case "http" -> http(step.getAsJsonObject(key), expect);
        case "expect", "as" -> {}
        default -> fail("nothing is known to do at " + key);
      }
    }
  }

  private void acquire(AcquireRequest.Builder request, JsonObject expect, String as) {
    try {
      Duration wait = request.getMaxWait();
      AcquireResponse answer =
          quotagate
              .stub()
              .withDeadlineAfter(
                  TIMEOUT.toSeconds() + wait.getSeconds() + 1,
                  java.util.concurrent.TimeUnit.SECONDS)
              .acquire(request.build());
      if (answer.hasDenial()) {
        denied(answer.getDenial(), expect);
      } else {
        granted(answer.getPermit(), expect, as);
      }
    } catch (StatusRuntimeException e) {
      failed(e, expect);
    }
  }

  private void release(JsonObject args, JsonObject expect) {
    ReleaseRequest.Builder request = ReleaseRequest.newBuilder().setPermitId(permitId(args));
    if (args.has("unused_calls")) {
      request.setUnusedCalls(number(args, "unused_calls"));
    }
    try {
      var answer = quotagate.stub().release(request.build());
      JsonObject got = new JsonObject();
      got.addProperty("returned_calls", answer.getReturnedCalls());
      got.addProperty("already_settled", answer.getAlreadySettled());
      matchAll(expect, got);
    } catch (StatusRuntimeException e) {
      failed(e, expect);
    }
  }

  private void report(JsonObject args, JsonObject expect) {
    ReportRequest.Builder request =
        answer(args)
            .setPermitId(permitId(args))
            .setExecutionUser(text(args, "execution_user"))
            .setOperation(text(args, "operation"))
            .setFirstCall(number(args, "first_call"))
            .setCalls(number(args, "calls"));
    if (request.getPermitId().isEmpty()) {
      request.setOrg(org);
    }
    try {
      ReportResponse answer = quotagate.stub().report(request.build());
      JsonObject got = new JsonObject();
      got.addProperty("already_settled", answer.getAlreadySettled());
      got.addProperty("advice", answer.getAdvice().name().replace("ADVICE_", ""));
      got.add("back_off_s", answer.hasBackOff() ? seconds(answer.getBackOff()) : JsonNull.INSTANCE);
      matchAll(expect, got);
    } catch (StatusRuntimeException e) {
      failed(e, expect);
    }
  }

  private void usage(JsonObject args, JsonObject expect) throws InterruptedException {
    long end = System.nanoTime() + PATIENCE.toNanos();
    while (true) {
      try {
        usageNow(args, expect);
        return;
      } catch (AssertionError e) {
        if (System.nanoTime() > end) {
          throw e;
        }
        Thread.sleep(20);
      }
    }
  }

  private void usageNow(JsonObject args, JsonObject expect) {
    OrgUsage usage =
        quotagate.stub().getUsage(GetUsageRequest.newBuilder().setOrg(org).build()).getUsage();
    List<LimitUsage> limits = List.of();
    JsonObject got = state(ClassState.getDefaultInstance());
    String identity = text(args, "identity");
    switch (text(args, "scope")) {
      case "ORG" -> limits = usage.getLimitsList();
      case "WORKSPACE" -> {
        for (WorkspaceUsage workspace : usage.getWorkspacesList()) {
          if (workspace.getWorkspace().equals(identity)) {
            limits = workspace.getLimitsList();
            got = state(workspace.getClassState());
          }
        }
      }
      default -> {
        for (ExecutionUserUsage user : usage.getExecutionUsersList()) {
          if (user.getExecutionUser().equals(identity)) {
            limits = user.getLimitsList();
          }
        }
      }
    }
    LimitUsage found =
        limits.stream()
            .filter(limit -> limit.getName().equals(text(args, "limit")))
            .filter(limit -> limit.getScope().name().endsWith(text(args, "scope")))
            .findFirst()
            .orElse(LimitUsage.getDefaultInstance());
    for (var figure : figures(found).entrySet()) {
      got.add(figure.getKey(), figure.getValue());
    }
    matchAll(expect, got);
  }

  private void guard(JsonObject args, JsonObject expect, String as) {
    try (Quotagate own = new Quotagate(programs.server, "guard", TIMEOUT)) {
      try (Permit permit = own.acquire(request(args).build())) {
        granted(permit.granted(), expect, as);
        use(permit, args);
        if (args.has("throw")) {
          throw new IllegalStateException("thrown");
        }
      } catch (Quotagate.DeniedException e) {
        denied(e.denial(), expect);
      } catch (IllegalStateException e) {
        assertTrue(args.has("throw"), e::toString);
      } catch (StatusRuntimeException e) {
        failed(e, expect);
      }
    }
  }

  private static void use(Permit permit, JsonObject args) {
    for (int i = 0; i < number(args, "start"); i++) {
      permit.start();
    }
    if (args.has("start_beyond")) {
      assertThrows(Permit.ExpiredException.class, permit::start);
    }
    int ordinal = 0;
    for (JsonElement answer : array(args, "answers")) {
      permit.report(ordinal++, answer(answer.getAsJsonObject()));
    }
  }

  private void http(JsonObject args, JsonObject expect) throws Exception {
    int before = arrivals();
    for (int i = 0; i < Math.max(number(args, "times"), 1); i++) {
      try {
        HttpResponse<String> response = call(args);
        JsonObject got = new JsonObject();
        got.addProperty("status", response.statusCode());
        got.add("sent", expect.get("sent"));
        if (response.body().startsWith("[{")) {
          JsonElement first = JsonParser.parseString(response.body()).getAsJsonArray().get(0);
          got.add("error_code", first.getAsJsonObject().get("errorCode"));
        }
        matchAll(expect, got);
      } catch (Salesforce.NoPermitException e) {
        if (!(e.getCause() instanceof Quotagate.DeniedException denied)) {
          throw e;
        }
        denied(denied.denial(), expect);
      }
    }
    match("sent", expect.get("sent"), new JsonPrimitive(arrivals() - before));
  }

  private HttpResponse<String> call(JsonObject args) throws Exception {
    String body = "";
    if (args.has("batch")) {
      JsonArray parts = new JsonArray();
      for (int i = 0; i < number(args, "batch"); i++) {
        parts.add(new JsonObject());
      }
      JsonObject batch = new JsonObject();
      batch.add("batchRequests", parts);
      body = batch.toString();
    }
    URI uri = URI.create(programs.salesforce + text(args, "path"));
    String session = org + "!" + text(args, "user");
    if (args.has("direct")) {
      HttpRequest request =
          HttpRequest.newBuilder(uri)
              .method(text(args, "method"), HttpRequest.BodyPublishers.ofString(body))
              .header("Authorization", "Bearer " + session)
              .build();
      return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    }
    AcquireRequest asks = request(args).setExecutionUser(text(args, "user")).build();
    return new Salesforce(quotagate, asks, session).send(text(args, "method"), uri, body);
  }

  private int arrivals() throws Exception {
    return JsonParser.parseString(programs.seen()).getAsJsonObject().get("arrivals").getAsInt();
  }

  private void granted(Quota.Permit permit, JsonObject expect, String as) {
    assertTrue(expect.has("permit"), () -> "granted: " + permit);
    JsonObject wanted = expect.getAsJsonObject("permit").deepCopy();
    JsonElement limit = wanted.remove("limit");
    if (limit != null) {
      boolean found =
          permit.getLimitsList().stream().anyMatch(l -> fits(limit.getAsJsonObject(), figures(l)));
      assertTrue(found, () -> "none of the limits is " + limit + ": " + permit.getLimitsList());
    }
    if (wanted.has("id")) {
      JsonElement id = wanted.remove("id");
      String known =
          ids.entrySet().stream()
              .filter(entry -> entry.getValue().equals(permit.getPermitId()))
              .map(Map.Entry::getKey)
              .findFirst()
              .orElse("");
      boolean good =
          id.isJsonNull()
              ? permit.getPermitId().isEmpty()
              : id.equals(new JsonPrimitive(true))
                  ? !permit.getPermitId().isEmpty() && known.isEmpty()
                  : id.getAsString().equals(known);
      assertTrue(good, () -> "the id is that of '" + known + "', want " + id);
    }
    if (!as.isEmpty()) {
      ids.put(as, permit.getPermitId());
    }
    JsonObject got = state(permit.getClassState());
    got.addProperty("calls", permit.getCalls());
    got.addProperty("execution_user", permit.getExecutionUser());
    got.add("ttl_s", seconds(permit.getTtl()));
    matchAll(wanted, got);
  }

  private static void denied(Denial denial, JsonObject expect) {
    assertTrue(expect.has("denied"), () -> "denied: " + denial.getMessage());
    JsonObject got = state(denial.getClassState());
    got.addProperty("reason", denial.getReason().name().replace("DENIAL_REASON_", ""));
    got.addProperty("queue_position", denial.getQueuePosition());
    got.add(
        "retry_after_s",
        denial.hasRetryAfter() ? seconds(denial.getRetryAfter()) : JsonNull.INSTANCE);
    got.add("limit", denial.hasLimit() ? figures(denial.getLimit()) : JsonNull.INSTANCE);
    matchAll(expect.getAsJsonObject("denied"), got);
  }

  private static void failed(StatusRuntimeException e, JsonObject expect) {
    if (!expect.has("error")) {
      throw e;
    }
    JsonArray fields = new JsonArray();
    for (var detail : StatusProto.fromThrowable(e).getDetailsList()) {
      if (detail.is(BadRequest.class)) {
        try {
          detail
              .unpack(BadRequest.class)
              .getFieldViolationsList()
              .forEach(v -> fields.add(v.getField()));
        } catch (com.google.protobuf.InvalidProtocolBufferException broken) {
          throw new AssertionError(broken);
        }
      }
    }
    JsonObject wanted = expect.getAsJsonObject("error");
    String code = e.getStatus().getCode().name();
    assertTrue(code.equals(text(wanted, "code")), () -> "the code is " + code + ": " + e);
    assertTrue(fields.equals(wanted.get("fields")), () -> "the fields are " + fields);
  }

  private String permitId(JsonObject args) {
    return args.has("permit") ? ids.get(text(args, "permit")) : text(args, "permit_id");
  }

  private AcquireRequest.Builder request(JsonObject args) {
    AcquireRequest.Builder request =
        AcquireRequest.newBuilder()
            .setOrg(args.has("org") ? text(args, "org") : org)
            .setOperation(text(args, "operation"))
            .setWorkspace(text(args, "workspace"))
            .setExecutionUser(text(args, "execution_user"))
            .setRequestId(text(args, "request_id"))
            .setCalls(number(args, "calls"))
            .setMinCalls(number(args, "min_calls"))
            .setCost(number(args, "cost"));
    if (args.has("traffic_class")) {
      String name = "TRAFFIC_CLASS_" + text(args, "traffic_class").toUpperCase(Locale.ROOT);
      request.setTrafficClass(TrafficClass.valueOf(name));
    }
    if (args.has("max_wait_s")) {
      request.setMaxWait(duration(args, "max_wait_s"));
    }
    if (args.has("permit_ttl_s")) {
      request.setPermitTtl(duration(args, "permit_ttl_s"));
    }
    return request;
  }

  private static ReportRequest.Builder answer(JsonObject args) {
    ReportRequest.Builder answer =
        ReportRequest.newBuilder()
            .setHttpStatus(number(args, "http_status"))
            .setErrorCode(text(args, "error_code"))
            .setErrorMessage(text(args, "error_message"))
            .setCompletedAgo(Durations.fromNanos(0));
    if (args.has("retry_after_s")) {
      answer.setRetryAfter(duration(args, "retry_after_s"));
    }
    array(args, "limit_info").forEach(value -> answer.addLimitInfo(value.getAsString()));
    return answer;
  }

  private static JsonObject state(ClassState state) {
    JsonArray paused = new JsonArray();
    JsonArray warnings = new JsonArray();
    for (var status : state.getClassesList()) {
      if (status.getState() == ClassRunState.CLASS_RUN_STATE_PAUSED) {
        String name = status.getTrafficClass().name().replace("TRAFFIC_CLASS_", "");
        paused.add(name.toLowerCase(Locale.ROOT));
      }
    }
    for (var warning : state.getWarningsList()) {
      warnings.add(warning.getKind().name().replace("WARNING_KIND_", ""));
    }
    JsonObject got = new JsonObject();
    got.add("paused", paused);
    got.add("warnings", warnings);
    return got;
  }

  private static JsonObject figures(LimitUsage limit) {
    JsonObject got = new JsonObject();
    got.addProperty("name", limit.getName());
    got.addProperty("identity", limit.getIdentity());
    got.addProperty("scope", limit.getScope().name().replace("LIMIT_SCOPE_", ""));
    got.addProperty("kind", limit.getKind().name().replace("LIMIT_KIND_", ""));
    got.addProperty("max", limit.getMax());
    got.addProperty("used_by_caller", limit.getUsedByCaller());
    got.addProperty("used_by_others", limit.getUsedByOthers());
    got.addProperty("foreign", limit.getForeign());
    got.addProperty("reserved", limit.getReserved());
    got.add("window_s", seconds(limit.getWindow()));
    return got;
  }

  private static boolean fits(JsonObject expect, JsonObject got) {
    try {
      matchAll(expect, got);
      return true;
    } catch (AssertionError e) {
      return false;
    }
  }

  private static void matchAll(JsonObject expect, JsonObject got) {
    for (var wanted : expect.entrySet()) {
      assertTrue(got.has(wanted.getKey()), () -> "nothing is known of " + wanted.getKey());
      match(wanted.getKey(), wanted.getValue(), got.get(wanted.getKey()));
    }
  }

  private static void match(String key, JsonElement wanted, JsonElement got) {
    boolean good;
    if (key.equals("paused") || key.equals("warnings")) {
      good = new HashSet<>(list(wanted)).equals(new HashSet<>(list(got)));
    } else if (wanted.isJsonObject() && got.isJsonObject()) {
      matchAll(wanted.getAsJsonObject(), got.getAsJsonObject());
      return;
    } else if (wanted.isJsonArray()) {
      double value = got.isJsonPrimitive() ? got.getAsDouble() : Double.NaN;
      JsonArray range = wanted.getAsJsonArray();
      good = range.get(0).getAsDouble() <= value && value <= range.get(1).getAsDouble();
    } else if (key.endsWith("_s") && wanted.equals(new JsonPrimitive(true))) {
      good = !got.isJsonNull();
    } else {
      good = wanted.equals(got);
    }
    assertTrue(good, () -> key + " is " + got + ", want " + wanted);
  }

  private static List<JsonElement> list(JsonElement array) {
    List<JsonElement> list = new ArrayList<>();
    array.getAsJsonArray().forEach(list::add);
    return list;
  }

  private static JsonArray array(JsonObject args, String key) {
    return args.has(key) ? args.getAsJsonArray(key) : new JsonArray();
  }

  private static String text(JsonObject args, String key) {
    return args.has(key) ? args.get(key).getAsString() : "";
  }

  private static int number(JsonObject args, String key) {
    return args.has(key) ? args.get(key).getAsInt() : 0;
  }

  private static Duration duration(JsonObject args, String key) {
    return Durations.fromNanos((long) (args.get(key).getAsDouble() * 1e9));
  }

  private static JsonPrimitive seconds(Duration duration) {
    return new JsonPrimitive(Durations.toNanos(duration) / 1e9);
  }
}

package quotagate.example;

import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import quotagate.v1.Quota.AcquireRequest;
import quotagate.v1.Quota.AcquireResponse;
import quotagate.v1.Quota.Denial;
import quotagate.v1.Quota.ReleaseRequest;
import quotagate.v1.Quota.ReportRequest;
import quotagate.v1.Quota.ReportResponse;
import quotagate.v1.QuotaServiceGrpc;
import quotagate.v1.QuotaServiceGrpc.QuotaServiceBlockingStub;

/**
 * A connection to the service, on the generated stubs. It is safe for use by several threads; a
 * program needs one.
 */
final class Quotagate implements AutoCloseable {
  private static final Metadata.Key<String> CALLER =
      Metadata.Key.of("quotagate-caller", Metadata.ASCII_STRING_MARSHALLER);

  private final ManagedChannel channel;
  private final QuotaServiceBlockingStub stub;
  private final Duration timeout;

  /**
   * Connects when it is first asked.
   *
   * @param target as gRPC has it: host:port, or dns:///name:port for all nodes behind a name
   * @param caller the name of this program in the service's attribution of use
   * @param timeout how long a decision may take, besides the wait that a request asks for
   */
  Quotagate(String target, String caller, Duration timeout) {
    this.channel =
        NettyChannelBuilder.forTarget(target)
            .usePlaintext()
            .disableServiceConfigLookUp()
            .defaultServiceConfig(serviceConfig())
            .keepAliveTime(20, TimeUnit.SECONDS)
            .keepAliveTimeout(5, TimeUnit.SECONDS)
            .build();
    Metadata who = new Metadata();
    who.put(CALLER, caller);
    this.stub =
        QuotaServiceGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(who));
    this.timeout = timeout;
  }

  /** A refusal: it charged nothing, and says when to try again. */
  static final class DeniedException extends Exception {
    private final transient Denial denial;

    DeniedException(Denial denial) {
      super(denial.getMessage());
      this.denial = denial;
    }

    Denial denial() {
      return denial;
    }
  }

  /**
   * Asks to make calls. All of gRPC's tries carry the same request id, so that none is charged
   * twice.
   *
   * @throws StatusRuntimeException if nothing could be decided
   */
  Permit acquire(AcquireRequest request) throws DeniedException {
    AcquireRequest.Builder named = request.toBuilder();
    if (request.getRequestId().isEmpty()) {
      named.setRequestId(UUID.randomUUID().toString());
    }
    Duration wait =
        Duration.ofSeconds(request.getMaxWait().getSeconds(), request.getMaxWait().getNanos());
    // A permit's life counts from the sending of the request: this is no later.
    Permit.Moment sent = Permit.Moment.now();
    AcquireResponse answer = stub(timeout.plus(wait)).acquire(named.build());
    return switch (answer.getOutcomeCase()) {
      case PERMIT -> new Permit(this, answer.getPermit(), sent);
      case DENIAL -> throw new DeniedException(answer.getDenial());
      case OUTCOME_NOT_SET ->
          throw io.grpc.Status.INTERNAL
              .withDescription("the answer is neither a permit nor a denial")
              .asRuntimeException();
    };
  }

  /** The generated stub, for what this class does not wrap. */
  QuotaServiceBlockingStub stub() {
    return stub(timeout);
  }

  private QuotaServiceBlockingStub stub(Duration within) {
    return stub.withDeadlineAfter(within.toNanos(), TimeUnit.NANOSECONDS);
  }

  /** Tells an outcome. To lose it only means that capacity comes back later. */
  ReportResponse report(ReportRequest report) {
    try {
      return stub().report(report);
    } catch (StatusRuntimeException e) {
      return ReportResponse.getDefaultInstance();
    }
  }

  /** Gives calls back; the same holds. */
  void release(ReleaseRequest release) {
    try {
      stub().release(release);
    } catch (StatusRuntimeException e) {
      // They come back by themselves when the permit's time and the window are over.
    }
  }

  @Override
  public void close() {
    channel.shutdownNow();
    try {
      channel.awaitTermination(2, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** How to balance over nodes and what to try again, as every client has it. */
  private static Map<String, ?> serviceConfig() {
    try (var file = Quotagate.class.getResourceAsStream("/service_config.json");
        Reader reader = new InputStreamReader(file, StandardCharsets.UTF_8)) {
      return new Gson().fromJson(reader, new TypeToken<Map<String, Object>>() {}.getType());
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }
}

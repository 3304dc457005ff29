package quotagate.example;

import java.time.Duration;
import java.util.BitSet;
import quotagate.v1.Quota;
import quotagate.v1.Quota.ReleaseRequest;
import quotagate.v1.Quota.ReportRequest;
import quotagate.v1.Quota.ReportResponse;

/**
 * The right to start calls, until its time is over. Used in a try-with-resources: at its end, what
 * was never started is given back, and what was started and not reported counts as sent.
 */
final class Permit implements AutoCloseable {
  private final Quotagate quotagate;
  private final Quota.Permit granted;
  private final Moment sent;
  private final BitSet reported = new BitSet();
  private int started;
  private boolean ended;

  /** A permit that was asked for at that moment. */
  Permit(Quotagate quotagate, Quota.Permit granted, Moment sent) {
    this.quotagate = quotagate;
    this.granted = granted;
    this.sent = sent;
  }

  /**
   * A moment by two clocks: the first never steps, but may stand still while the machine sleeps.
   * The longer time by either is the safe one.
   */
  record Moment(long nanos, long wallMillis) {
    static Moment now() {
      return new Moment(System.nanoTime(), System.currentTimeMillis());
    }

    Duration elapsed() {
      Duration steady = Duration.ofNanos(System.nanoTime() - nanos);
      Duration wall = Duration.ofMillis(System.currentTimeMillis() - wallMillis);
      return steady.compareTo(wall) > 0 ? steady : wall;
    }
  }

  /** No call may start any more. */
  static final class ExpiredException extends RuntimeException {
    ExpiredException(String message) {
      super(message);
    }
  }

  Quota.Permit granted() {
    return granted;
  }

  /** How long calls may still start. */
  Duration remaining() {
    Duration ttl = Duration.ofSeconds(granted.getTtl().getSeconds(), granted.getTtl().getNanos());
    Duration left = ttl.minus(sent.elapsed());
    return left.isNegative() ? Duration.ZERO : left;
  }

  /** Takes the next call, one request on the wire, and returns its ordinal from 0. */
  synchronized int start() {
    if (ended || started == granted.getCalls() || remaining().isZero()) {
      throw new ExpiredException("the permit has no call left");
    }
    return started++;
  }

  /** Takes the last start back: the caller vouches that nothing of it was sent. */
  synchronized void unstart() {
    if (started > 0 && !reported.get(started - 1)) {
      started--;
    }
  }

  /** Tells what was answered to a call; without a status, that nothing was. */
  ReportResponse report(int ordinal, ReportRequest.Builder answer) {
    synchronized (this) {
      reported.set(ordinal);
    }
    return quotagate.report(
        answer.setPermitId(granted.getPermitId()).setFirstCall(ordinal).build());
  }

  @Override
  public void close() {
    synchronized (this) {
      if (ended) {
        return;
      }
      ended = true; // from here on nothing starts
    }
    int unused = granted.getCalls() - started;
    if (unused > 0) {
      ReleaseRequest.Builder release =
          ReleaseRequest.newBuilder().setPermitId(granted.getPermitId());
      if (started > 0) {
        release.setUnusedCalls(unused);
      }
      quotagate.release(release.build());
    }
    for (int lost = reported.nextClearBit(0); lost < started; ) {
      int next = reported.nextSetBit(lost);
      int end = next < 0 ? started : next;
      report(lost, ReportRequest.newBuilder().setCalls(end - lost));
      lost = reported.nextClearBit(end);
    }
  }
}

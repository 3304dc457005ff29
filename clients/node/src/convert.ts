// From messages of the wire to what callers see, and back.

import { Denied } from "./errors.js";
import type { Duration, Duration__Output } from "./generated/google/protobuf/Duration.js";
import type { Timestamp } from "./generated/google/protobuf/Timestamp.js";
import type { ClassState__Output } from "./generated/quotagate/v1/ClassState.js";
import type { Denial__Output } from "./generated/quotagate/v1/Denial.js";
import type { LimitUsage__Output } from "./generated/quotagate/v1/LimitUsage.js";
import type { OrgUsage__Output } from "./generated/quotagate/v1/OrgUsage.js";
import type { ReportResponse__Output } from "./generated/quotagate/v1/ReportResponse.js";
import type {
  ClassState,
  DenialReason,
  LimitUsage,
  OrgUsage,
  Settlement,
  TrafficClass,
} from "./types.js";

export function toDuration(ms: number): Duration {
  const whole = Math.max(0, Math.floor(ms));
  return { seconds: Math.floor(whole / 1000), nanos: (whole % 1000) * 1_000_000 };
}

export function fromDuration(duration: Duration__Output): number {
  return duration.seconds * 1000 + duration.nanos / 1_000_000;
}

export function toTimestamp(time: Date): Timestamp {
  const ms = time.getTime();
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: (ms - seconds * 1000) * 1_000_000 };
}

export function denied(denial: Denial__Output): Denied {
  return new Denied({
    reason: unprefixed(denial.reason, "DENIAL_REASON_") as DenialReason,
    message: denial.message,
    retryAfterMs: present(denial.retryAfter, fromDuration),
    limit: present(denial.limit, limitUsage),
    limits: denial.limits.map(limitUsage),
    classState: present(denial.classState, classState),
    queuePosition: denial.queuePosition,
  });
}

export function limitUsage(usage: LimitUsage__Output): LimitUsage {
  return {
    name: usage.name,
    kind: unprefixed(usage.kind, "LIMIT_KIND_").toLowerCase() as LimitUsage["kind"],
    scope: unprefixed(usage.scope, "LIMIT_SCOPE_").toLowerCase() as LimitUsage["scope"],
    identity: usage.identity,
    max: usage.max,
    usedByCaller: usage.usedByCaller,
    usedByOthers: usage.usedByOthers,
    foreign: usage.foreign,
    held: usage.held,
    reserved: usage.reserved,
    remaining: usage.remaining,
    windowMs: present(usage.window, fromDuration) ?? 0,
    stale: usage.stale,
    outageShare: usage.outageShare,
    shadow: usage.shadow !== null,
  };
}

export function classState(state: ClassState__Output): ClassState {
  return {
    classes: state.classes.map((status) => ({
      trafficClass: unprefixed(status.trafficClass, "TRAFFIC_CLASS_").toLowerCase() as TrafficClass,
      paused: status.state === "CLASS_RUN_STATE_PAUSED",
      pausesAtPercent: status.pausesAtPercent,
      resumesBelowPercent: status.resumesBelowPercent,
    })),
    warnings: state.warnings.map(({ kind, text }) => ({
      kind: unprefixed(kind, "WARNING_KIND_") as "APPROACHING_LIMIT" | "LIMIT_REACHED",
      text,
    })),
  };
}

export function orgUsage(usage: OrgUsage__Output): OrgUsage {
  return {
    org: usage.org,
    limits: usage.limits.map(limitUsage),
    workspaces: usage.workspaces.map((workspace) => ({
      workspace: workspace.workspace,
      limits: workspace.limits.map(limitUsage),
      classState: present(workspace.classState, classState) ?? { classes: [], warnings: [] },
    })),
    executionUsers: usage.executionUsers.map((user) => ({
      executionUser: user.executionUser,
      limits: user.limits.map(limitUsage),
      inPool: user.inPool,
    })),
    waiting: usage.waiting,
    permitsOut: usage.permitsOut,
    warnings: usage.warnings,
  };
}

export function settlement(response: ReportResponse__Output): Settlement {
  const advice = unprefixed(response.advice, "ADVICE_").toLowerCase();
  return {
    delivered: true,
    alreadySettled: response.alreadySettled,
    advice: advice === "back_off" || advice === "stop" ? advice : "continue",
    backOffMs: present(response.backOff, fromDuration),
    classState: present(response.classState, classState),
  };
}

export function present<T, R>(
  value: T | null | undefined,
  convert: (value: T) => R,
): R | undefined {
  return value === null || value === undefined ? undefined : convert(value);
}

/** An enum value without the prefix that protobuf wants; numbers of values unknown here stay. */
function unprefixed(value: string | number, prefix: string): string {
  return String(value).replace(prefix, "");
}

import type { ClassState, DenialReason, LimitUsage } from "./types.js";

/** What every error of this package is. */
export class QuotagateError extends Error {
  override readonly name: string = "QuotagateError";
}

/** The service refused: the calls may not be made now. It charges nothing. */
export class Denied extends QuotagateError {
  override readonly name = "Denied";
  readonly reason: DenialReason;
  /** When to try again; absent where nobody can know, or where it can never be granted. */
  readonly retryAfterMs: number | undefined;
  /** The binding limit: the one that frees last. */
  readonly limit: LimitUsage | undefined;
  /** Every limit that the request touches. */
  readonly limits: readonly LimitUsage[];
  readonly classState: ClassState | undefined;
  /** The place in the queue at which the wait ended, from 1; 0 if it did not wait. */
  readonly queuePosition: number;

  constructor(denial: {
    reason: DenialReason;
    message: string;
    retryAfterMs: number | undefined;
    limit: LimitUsage | undefined;
    limits: readonly LimitUsage[];
    classState: ClassState | undefined;
    queuePosition: number;
  }) {
    super(denial.message || denial.reason);
    this.reason = denial.reason;
    this.retryAfterMs = denial.retryAfterMs;
    this.limit = denial.limit;
    this.limits = denial.limits;
    this.classState = denial.classState;
    this.queuePosition = denial.queuePosition;
  }
}

/** Nothing could be decided in time, and the outage policy grants nothing. */
export class Unavailable extends QuotagateError {
  override readonly name = "Unavailable";
  /** When to try again, where the service said. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options?: ErrorOptions & { retryAfterMs?: number | undefined }) {
    super(message, options);
    this.retryAfterMs = options?.retryAfterMs;
  }
}

/** The request is at fault; it will be refused however often it is made. */
export class InvalidRequest extends QuotagateError {
  override readonly name = "InvalidRequest";
  readonly violations: readonly FieldViolation[];

  constructor(message: string, violations: readonly FieldViolation[], options?: ErrorOptions) {
    super(message, options);
    this.violations = violations;
  }
}

/** One field of a request, and what is wrong with it. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** This caller may not do that. */
export class PermissionDenied extends QuotagateError {
  override readonly name = "PermissionDenied";
}

/** The service does not know who this caller is. */
export class Unauthenticated extends QuotagateError {
  override readonly name = "Unauthenticated";
}

/** The operation is unknown; or the org, workspace or user, where the service refuses unknown ones. */
export class NotFound extends QuotagateError {
  override readonly name = "NotFound";
}

/** The permit allows no further call: its deadline has passed, or none is left. */
export class PermitExpired extends QuotagateError {
  override readonly name = "PermitExpired";
}

/** The client has been closed. */
export class Closed extends QuotagateError {
  override readonly name = "Closed";
}

/** The first error of this package in an error and its causes, where an HTTP library wrapped it. */
export function quotagateErrorOf(error: unknown): QuotagateError | undefined {
  for (let depth = 0, cause = error; depth < 8 && cause instanceof Error; depth += 1) {
    if (cause instanceof QuotagateError) {
      return cause;
    }
    cause = cause.cause;
  }
  return undefined;
}

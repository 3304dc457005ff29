import { randomUUID } from "node:crypto";
import { performance } from "node:perf_hooks";
import { limitInfoWithinBounds } from "./answer.js";
import { elapsedMs, type Moment, now } from "./clock.js";
import {
  classState,
  denied,
  fromDuration,
  limitUsage,
  orgUsage,
  present,
  settlement,
  toDuration,
  toTimestamp,
} from "./convert.js";
import { Closed, InvalidRequest, Unavailable } from "./errors.js";
import { type FetchOptions, quotaFetch } from "./fetch.js";
import type { AcquireRequest } from "./generated/quotagate/v1/AcquireRequest.js";
import type { AcquireResponse__Output } from "./generated/quotagate/v1/AcquireResponse.js";
import type { Permit__Output } from "./generated/quotagate/v1/Permit.js";
import type { ReportRequest } from "./generated/quotagate/v1/ReportRequest.js";
import { hookJsforce, type JsforceConnection, type JsforceOptions } from "./jsforce.js";
import { Outage, type OutagePolicies } from "./outage.js";
import { Permit, type Settler } from "./permit.js";
import { type ChannelConfig, Rpc } from "./rpc.js";
import { Settlements } from "./settlements.js";
import type { AcquireOptions, Answer, OrgUsage, Settlement, TrafficClass } from "./types.js";

/** How a client behaves. */
export interface ClientOptions extends ChannelConfig {
  /** How long a decision may take, besides the wait for room that was asked for. Default: 1 s. */
  readonly timeoutMs?: number | undefined;
  /** What happens while the service cannot be reached. Default: `closed`. */
  readonly outage?: OutagePolicies | undefined;
  /** Told once when an outage's policy begins to grant. Default: `process.emitWarning`. */
  readonly warn?: ((message: string) => void) | undefined;
}

const DEFAULT_TIMEOUT_MS = 1_000;
/** The service parks a request no longer. */
const MAX_WAIT_MS = 600_000;
const MAX_UINT32 = 2 ** 32 - 1;
/** How long `close` waits for what is not settled. */
const FLUSH_MS = 2_000;

/** A client of quotagate. One per process is enough; it is to be closed. */
export class Client implements AsyncDisposable {
  readonly #rpc: Rpc;
  readonly #outage: Outage;
  readonly #timeoutMs: number;
  readonly #settlements = new Settlements();
  #closing: Promise<void> | undefined;

  /**
   * @param servers One HOST:PORT, whose name may have several addresses, or
   *   several IP:PORT; requests are spread over all that answer.
   */
  constructor(servers: string | readonly string[], options: ClientOptions = {}) {
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#outage = new Outage(options.outage ?? "closed", options.warn ?? emitWarning);
    this.#rpc = new Rpc(servers, options);
  }

  /**
   * Asks to make calls. Whoever takes a permit settles it: rather use
   * `withPermit`, or `await using permit = await client.acquire(…)`.
   *
   * @throws {Denied} The service refused.
   * @throws {Unavailable} Nothing was decided, and the outage policy is closed.
   * @throws {InvalidRequest} and other errors of this package: it will never be granted.
   */
  async acquire(options: AcquireOptions): Promise<Permit> {
    this.#assertOpen();
    const request = acquireRequest(options);
    const timeoutMs = this.#timeoutMs + Math.min(options.maxWaitMs ?? 0, MAX_WAIT_MS);
    // Before the first try, so that the deadline is right whichever is answered.
    const sentAt = now();
    let response: AcquireResponse__Output;
    try {
      response = await this.#rpc.acquire(request, timeoutMs, options.signal);
    } catch (error) {
      if (error instanceof Unavailable) {
        return this.#outage.grant(options, now(), error);
      }
      throw error;
    }
    if (response.denial) {
      const denial = denied(response.denial);
      this.#outage.learnDenial(options, denial);
      throw denial;
    }
    if (!response.permit) {
      return this.#outage.grant(options, now(), new Unavailable("the answer holds no decision"));
    }
    return this.#permit(options, response.permit, sentAt);
  }

  /** Takes a permit, hands it to `use`, and settles it however that ends. */
  async withPermit<T>(
    options: AcquireOptions,
    use: (permit: Permit) => T | PromiseLike<T>,
  ): Promise<T> {
    const permit = await this.acquire(options);
    try {
      return await use(permit);
    } finally {
      permit.settle();
    }
  }

  /** How much of an org's limits is used. */
  async getUsage(org: string): Promise<OrgUsage> {
    this.#assertOpen();
    const { usage } = await this.#rpc.getUsage({ org }, this.#timeoutMs);
    if (!usage) {
      throw new Unavailable("the answer holds no usage");
    }
    return orgUsage(usage);
  }

  /** A `fetch` of which each request to Salesforce takes a permit and is reported. */
  fetch(options: FetchOptions): typeof globalThis.fetch {
    return quotaFetch(this, options);
  }

  /**
   * Lets each request of a jsforce connection take a permit and be reported.
   * Returns a function that takes this back.
   */
  jsforce(connection: JsforceConnection, options: JsforceOptions): () => void {
    return hookJsforce(this, connection, options);
  }

  /** Settles what is open, for at most 2 s, and closes the connections. */
  close(): Promise<void> {
    this.#closing ??= this.#settlements.flush(FLUSH_MS).then(() => this.#rpc.close());
    return this.#closing;
  }

  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #permit(options: AcquireOptions, permit: Permit__Output, sentAt: Moment): Permit {
    const grant = {
      id: permit.permitId,
      calls: permit.calls,
      executionUser: permit.executionUser,
      sentAt,
      ttlMs: present(permit.ttl, fromDuration) ?? 0,
      limits: permit.limits.map(limitUsage),
      classState: present(permit.classState, classState),
      origin: "service" as const,
    };
    this.#outage.learnGrant(options, grant.limits, grant.executionUser);
    const isAlive = () => elapsedMs(sentAt) < grant.ttlMs;
    const settler: Settler = {
      report: (call, calls, answer) => this.#report(grant, options, call, calls, answer, isAlive),
      release: async (unused) => {
        const request = {
          permitId: grant.id,
          ...(unused === undefined ? {} : { unusedCalls: unused }),
        };
        const response = await this.#settlements.submit(
          (signal) => this.#rpc.release(request, this.#timeoutMs, signal),
          isAlive,
        );
        return response?.returnedCalls ?? 0;
      },
    };
    return new Permit(grant, settler);
  }

  async #report(
    permit: { id: string; executionUser: string },
    { operation }: AcquireOptions,
    firstCall: number,
    calls: number,
    answer: Answer | Promise<Answer>,
    isAlive: () => boolean,
  ): Promise<Settlement> {
    const response = await this.#settlements.submit(async (signal) => {
      const request = reportRequest(await answer);
      return this.#rpc.report(
        {
          ...request,
          permitId: permit.id,
          executionUser: permit.executionUser,
          operation,
          firstCall,
          calls,
        },
        this.#timeoutMs,
        signal,
      );
    }, isAlive);
    return response
      ? settlement(response)
      : { delivered: false, alreadySettled: false, advice: "continue" };
  }

  #assertOpen(): void {
    if (this.#closing) {
      throw new Closed("the client has been closed");
    }
  }
}

function acquireRequest(options: AcquireOptions): AcquireRequest {
  return {
    org: options.org,
    workspace: options.workspace ?? "",
    operation: options.operation,
    executionUser: options.executionUser ?? "",
    trafficClass: wireClass(options.trafficClass ?? "event"),
    calls: count("calls", options.calls),
    minCalls: count("min_calls", options.minCalls),
    cost: count("cost", options.cost),
    maxWait: options.maxWaitMs ? toDuration(options.maxWaitMs) : null,
    permitTtl: present(options.permitTtlMs, toDuration) ?? null,
    requestId: options.requestId ?? randomUUID(),
  };
}

function reportRequest(answer: Answer): ReportRequest {
  const sentAt = performance.now();
  return {
    httpStatus: answer.status,
    errorCode: answer.errorCode ?? "",
    errorMessage: answer.errorMessage ?? "",
    limitInfo: limitInfoWithinBounds(answer.limitInfo ?? []),
    retryAfter: present(answer.retryAfterMs, toDuration) ?? null,
    answerTime: present(answer.answerTime, toTimestamp) ?? null,
    // Of this try; and by the clock that stands still in suspend, since too long
    // an age would free the call too early.
    completedAgo: toDuration(sentAt - (answer.receivedAt ?? sentAt)),
  };
}

function wireClass(trafficClass: TrafficClass) {
  switch (trafficClass) {
    case "bulk":
      return "TRAFFIC_CLASS_BULK";
    case "event":
      return "TRAFFIC_CLASS_EVENT";
    case "interactive":
      return "TRAFFIC_CLASS_INTERACTIVE";
    case "control":
      return "TRAFFIC_CLASS_CONTROL";
    default:
      throw invalid("traffic_class", "is none of bulk, event, interactive, control");
  }
}

/** A number as the wire has it, which would silently take another in its place. */
function count(field: string, value = 0): number {
  if (!Number.isInteger(value) || value < 0 || value > MAX_UINT32) {
    throw invalid(field, "must be a whole number, not negative");
  }
  return value;
}

function invalid(field: string, description: string): InvalidRequest {
  return new InvalidRequest(`${field} ${description}`, [{ field, description }]);
}

function emitWarning(message: string): void {
  process.emitWarning(message, { type: "QuotagateWarning", code: "QUOTAGATE_OUTAGE" });
}

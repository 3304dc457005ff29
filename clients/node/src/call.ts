// What the adapters have in common: one request on the wire is one call.
import type { ResponseLike } from "./answer.js";
import type { Client } from "./client.js";
import { Departure } from "./departure.js";
import { PermitExpired } from "./errors.js";
import type { Permit } from "./permit.js";
import { defaultRules, type HttpRequest, type Rules } from "./rules.js";
import type { Answer, Settlement, TrafficClass } from "./types.js";

/** What an adapter's requests are charged to. */
export interface AdapterOptions {
  /** The Salesforce org. */
  readonly org: string;
  /**
   * The Salesforce user that the session is of, whose limits the calls count
   * against; empty only where no limit of a user is concerned.
   */
  readonly executionUser: string;
  /** The customer's workspace that pays. */
  readonly workspace?: string | undefined;
  /** Default: `event`. */
  readonly trafficClass?: TrafficClass | undefined;
  /** How long a request waits for room. Default: not at all. */
  readonly maxWaitMs?: number | undefined;
  /** Which operation a request is. Default: the built-in catalogue's. */
  readonly rules?: Rules | undefined;
  /** Told what became of each report, with the advice on what to do next. */
  readonly onSettled?: ((settlement: Settlement) => void) | undefined;
}

/** One request that has its permit and is about to be sent. */
export interface Call {
  /** Sends it, unless the permit's deadline passes before it has left; the signal is for a `fetch`. */
  send<T>(send: (signal?: AbortSignal) => T): T;
  /** Salesforce has answered. */
  answered(answer: Answer | ResponseLike): void;
  /** No answer has come. What was certainly not sent is given back. Returns the error to throw. */
  failed(error: unknown): unknown;
}

/** A request that needs no permit. */
const FREE: Call = { send: (send) => send(), answered() {}, failed: (error) => error };

/** Permits that are taken for a request, should they be over before it could be sent. */
const MAX_TRIES = 3;

/** Takes the permit of a request, where it needs one, and starts its call. */
export async function startCall(
  client: Client,
  options: AdapterOptions,
  request: HttpRequest,
  signal?: AbortSignal | null,
): Promise<Call> {
  const operation = (options.rules ?? defaultRules)(request);
  if (operation === undefined) {
    return FREE;
  }
  for (let tries = 1; ; tries += 1) {
    const permit = await client.acquire({
      org: options.org,
      workspace: options.workspace,
      executionUser: options.executionUser,
      trafficClass: options.trafficClass,
      maxWaitMs: options.maxWaitMs,
      signal: signal ?? undefined,
      ...operation,
    });
    try {
      return callOf(permit, permit.start(), options);
    } catch (error) {
      permit.settle();
      // A process that stood still for so long may go on, with another permit.
      if (!(error instanceof PermitExpired) || tries === MAX_TRIES) {
        throw error;
      }
    }
  }
}

function callOf(permit: Permit, call: number, options: AdapterOptions): Call {
  const departure = new Departure(permit);
  return {
    send: (send) => departure.run(send),
    answered(answer) {
      departure.end();
      void settleWith(permit, call, answer, options);
    },
    failed(error) {
      departure.end();
      if (departure.missed || wasNotSent(error)) {
        permit.unsent(call);
      }
      permit.settle();
      return departure.missed ?? error;
    },
  };
}

async function settleWith(
  permit: Permit,
  call: number,
  answer: Answer | ResponseLike,
  options: AdapterOptions,
): Promise<void> {
  try {
    const settlement = await permit.report(call, answer);
    options.onSettled?.(settlement);
  } catch (error) {
    // Of `onSettled`: it must not go unseen, nor disturb the request.
    process.emitWarning(error instanceof Error ? error : String(error));
  } finally {
    permit.settle();
  }
}

/** Failures to connect, before any byte of a request has left. */
const NOT_SENT = new Set(["EAI_AGAIN", "ECONNREFUSED", "ENOTFOUND", "UND_ERR_CONNECT_TIMEOUT"]);

/** Routes get lost also under a connection that stands: these say nothing without the system call. */
const NOT_SENT_IF_CONNECTING = new Set(["EHOSTUNREACH", "ENETUNREACH"]);

/** Whether an error, or all that it stands for, says that nothing was sent. */
export function wasNotSent(error: unknown): boolean {
  for (let depth = 0, cause = error; depth < 8 && cause instanceof Error; depth += 1) {
    const { code, errors, syscall } = cause as Error & Record<string, unknown>;
    if (Array.isArray(errors) && errors.length > 0) {
      // One for each address of the name.
      return errors.every(wasNotSent);
    }
    if (typeof code === "string") {
      const wasConnecting = syscall === "connect" && NOT_SENT_IF_CONNECTING.has(code);
      return wasConnecting || NOT_SENT.has(code);
    }
    cause = cause.cause;
  }
  return false;
}

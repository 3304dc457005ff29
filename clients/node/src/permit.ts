import { performance } from "node:perf_hooks";
import { answerOf, isResponse, type ResponseLike } from "./answer.js";
import { elapsedMs, type Moment } from "./clock.js";
import { PermitExpired } from "./errors.js";
import type { Answer, ClassState, LimitUsage, Settlement } from "./types.js";

/** What a permit says. */
export interface Grant {
  readonly id: string;
  readonly calls: number;
  readonly executionUser: string;
  /** Before the request was first sent: the life counts from there. */
  readonly sentAt: Moment;
  readonly ttlMs: number;
  readonly limits: readonly LimitUsage[];
  readonly classState: ClassState | undefined;
  readonly origin: "service" | "outage";
}

/** Where a permit's calls are settled. Neither method rejects. */
export interface Settler {
  report(call: number, calls: number, answer: Answer | Promise<Answer>): Promise<Settlement>;
  /** Gives back `unused` calls; `undefined` is all, where nothing was started. */
  release(unused: number | undefined): Promise<number>;
}

enum CallState {
  Unstarted,
  Started,
  /** Reported without an answer; a report with one is still news. */
  Unanswered,
  Answered,
  /** Certainly not sent, and not going to be. */
  Unsent,
}

/**
 * The right to start calls before a deadline. Each is one request on the wire:
 * a retry or a redirect is a call of its own.
 *
 * However the use of it ends, `settle` (or `await using`, or
 * `client.withPermit`) tells the service what is known.
 */
export class Permit implements AsyncDisposable {
  /** Names the permit; empty for one that was granted in an outage. */
  readonly id: string;
  /** How many calls may be started. */
  readonly calls: number;
  /** The Salesforce user to make them as; may be empty where none was named. */
  readonly executionUser: string;
  /** No call may start after it, by `performance.now()`. A suspended machine lets it pass earlier. */
  readonly deadline: number;
  /** Every limit that was charged. */
  readonly limits: readonly LimitUsage[];
  readonly classState: ClassState | undefined;
  /** `outage`: by this process's outage policy, not by the service. */
  readonly origin: "service" | "outage";

  readonly #grant: Grant;
  readonly #settler: Settler;
  readonly #states: Uint8Array;
  #started = 0;
  #release: Promise<number> | undefined;

  /** @internal */
  constructor(grant: Grant, settler: Settler) {
    this.id = grant.id;
    this.calls = grant.calls;
    this.executionUser = grant.executionUser;
    this.deadline = grant.sentAt.processMs + grant.ttlMs;
    this.limits = grant.limits;
    this.classState = grant.classState;
    this.origin = grant.origin;
    this.#grant = grant;
    this.#settler = settler;
    this.#states = new Uint8Array(grant.calls);
  }

  /** The deadline has passed. */
  get expired(): boolean {
    return elapsedMs(this.#grant.sentAt) >= this.#grant.ttlMs;
  }

  /**
   * Starts the next call, which must be sent at once, and returns its number.
   *
   * @throws {PermitExpired} The deadline has passed, or no call is left.
   */
  start(): number {
    if (this.expired) {
      throw new PermitExpired("the permit's deadline has passed");
    }
    if (this.#release || this.#started === this.calls) {
      throw new PermitExpired("no call of the permit is left");
    }
    this.#states[this.#started] = CallState.Started;
    this.#started += 1;
    return this.#started - 1;
  }

  /**
   * Tells what Salesforce answered to a call, or to a range of calls with the
   * same outcome. A `Response` of `fetch` may be given as it is: its body is read
   * only if it is an error's, and stays readable.
   *
   * Tried again in the background until the permit's deadline; never rejects
   * because the service is away. Nobody has to wait for it.
   */
  async report(call: number, answer: Answer | ResponseLike, calls = 1): Promise<Settlement> {
    const inRange = Number.isInteger(call) && Number.isInteger(calls) && call >= 0 && calls >= 1;
    if (!inRange || call + calls > this.#started) {
      throw new RangeError(`calls ${call} to ${call + calls - 1} have not been started`);
    }
    const receivedAt = performance.now();
    const status = answer.status;
    const isAnswered = status !== 0;
    for (let number = call; number < call + calls; number += 1) {
      if (this.#states[number] !== CallState.Answered) {
        this.#states[number] = isAnswered ? CallState.Answered : CallState.Unanswered;
      }
    }
    return this.#settler.report(
      call,
      calls,
      isResponse(answer) ? answerOf(answer, receivedAt) : { receivedAt, ...answer },
    );
  }

  /** Says that a started call was certainly not sent and will not be: it is given back with the rest. */
  unsent(call: number): void {
    if (this.#states[call] === CallState.Started) {
      this.#states[call] = CallState.Unsent;
    }
  }

  /** Gives back what was not sent; no further call starts. Returns how many calls came back. */
  release(): Promise<number> {
    this.#release ??= this.#giveBack();
    return this.#release;
  }

  /**
   * Ends the use of the permit: what was not sent is given back; what was started
   * and not reported is reported as unanswered, since it may have been made.
   * Returns at once; the service is told in the background.
   */
  settle(): void {
    for (let call = 0; call < this.#started; call += 1) {
      let end = call;
      while (end < this.#started && this.#states[end] === CallState.Started) {
        this.#states[end] = CallState.Unanswered;
        end += 1;
      }
      if (end > call) {
        void this.#settler.report(call, end - call, { status: 0 });
        call = end;
      }
    }
    void this.release();
  }

  /** The same as `settle`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.settle();
  }

  async #giveBack(): Promise<number> {
    const sent = this.#states.reduce((sum, state) => sum + (isSent(state) ? 1 : 0), 0);
    if (sent === this.calls || this.expired) {
      return 0;
    }
    return this.#settler.release(sent === 0 ? undefined : this.calls - sent);
  }
}

function isSent(state: CallState): boolean {
  return state !== CallState.Unstarted && state !== CallState.Unsent;
}

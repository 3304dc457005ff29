import { performance } from "node:perf_hooks";
import type { Moment } from "./clock.js";
import { type Denied, Unavailable } from "./errors.js";
import { canonicalOrg, canonicalUser } from "./ids.js";
import { Permit, type Settler } from "./permit.js";
import type { AcquireOptions, Answer, LimitUsage, Settlement, TrafficClass } from "./types.js";

/**
 * What a traffic class does while the service cannot be reached.
 *
 * - `closed`: nothing is granted.
 * - `open`: everything is, and limits may be overrun.
 * - `safe`: this process's part of each limit's `outage_share`, which the service
 *   never grants, so that no limit is overrun. `processes` is how many processes
 *   may use their part within one window, restarted ones included.
 */
export type OutagePolicy = "closed" | "open" | { readonly safe: { readonly processes: number } };

/** One policy for all classes, or one for each; `closed` for a class that has none. */
export type OutagePolicies = OutagePolicy | { readonly [C in TrafficClass]?: OutagePolicy };

/** A permit of an outage lives as long as the service's shortest default. */
const PERMIT_TTL_MS = 5_000;
/** How long a request may travel, after the permit's deadline at which it was sent. */
const TRAVEL_MS = 5_000;
/** Questions whose last answer is remembered. */
const MAX_QUESTIONS = 10_000;

/** What the service last said of a question. */
interface Knowledge {
  readonly limits: readonly LimitUsage[];
  readonly executionUser: string;
}

/** Decides in the service's place while it cannot. */
export class Outage {
  readonly #policies: OutagePolicies;
  readonly #warn: (message: string) => void;
  readonly #knowledge = new Map<string, Knowledge>();
  /** By org, scope, identity and name of a limit. */
  readonly #logs = new Map<string, Log>();
  #isOn = false;

  constructor(policies: OutagePolicies, warn: (message: string) => void) {
    for (const policy of typeof policies === "object" && !("safe" in policies)
      ? Object.values(policies)
      : [policies]) {
      validate(policy);
    }
    this.#policies = policies;
    this.#warn = warn;
  }

  /** The service has granted: there is no outage. It charged all of these limits. */
  learnGrant(question: AcquireOptions, limits: readonly LimitUsage[], executionUser: string): void {
    this.#isOn = false;
    this.#learn(questionKey(question), limits, executionUser);
  }

  /**
   * The service has refused: there is no outage. A refusal for the queue's sake names
   * only the limits that every user shares, as others may where the service was to
   * choose the user: without those of a user, more would be granted than there is.
   */
  learnDenial(question: AcquireOptions, { reason, limits }: Denied): void {
    this.#isOn = false;
    const key = questionKey(question);
    const user = limits.find(isOfUser);
    const lacksUser = user === undefined && this.#knowledge.get(key)?.limits.some(isOfUser);
    if (reason !== "QUEUE_FULL" && !lacksUser) {
      this.#learn(key, limits, question.executionUser || user?.identity || "");
    }
  }

  #learn(key: string, limits: readonly LimitUsage[], executionUser: string): void {
    this.#knowledge.delete(key);
    this.#knowledge.set(key, { limits, executionUser });
    if (this.#knowledge.size > MAX_QUESTIONS) {
      for (const [oldest] of this.#knowledge) {
        this.#knowledge.delete(oldest);
        break;
      }
    }
  }

  /**
   * A permit by the class's policy.
   *
   * @throws {Unavailable} The policy grants none.
   */
  grant(question: AcquireOptions, decidedAt: Moment, cause: Unavailable): Permit {
    const policy = this.#policyOf(question.trafficClass ?? "event");
    if (policy === "closed") {
      throw cause;
    }
    if (!this.#isOn) {
      this.#isOn = true;
      const what = policy === "open" ? "calls go without a permit" : "the outage share is used";
      this.#warn(`quotagate cannot be reached, ${what}: ${cause.message}`);
    }
    const known = this.#knowledge.get(questionKey(question));
    const wanted = question.calls || 1;
    const calls =
      policy === "open" ? wanted : this.#room(question, known, policy.safe.processes, cause);
    const uses =
      policy === "open" ? [] : this.#take(question, known?.limits ?? [], calls, decidedAt);
    return new Permit(
      {
        id: "",
        calls,
        executionUser: question.executionUser || known?.executionUser || "",
        sentAt: decidedAt,
        ttlMs: PERMIT_TTL_MS,
        limits: [],
        classState: undefined,
        origin: "outage",
      },
      new LocalSettler(uses),
    );
  }

  #policyOf(trafficClass: TrafficClass): OutagePolicy {
    const policies = this.#policies;
    if (typeof policies === "string" || "safe" in policies) {
      return policies;
    }
    return policies[trafficClass] ?? "closed";
  }

  /** How many of the calls wanted there is room for, if they are of use. */
  #room(
    question: AcquireOptions,
    known: Knowledge | undefined,
    processes: number,
    cause: Unavailable,
  ): number {
    if (known === undefined) {
      throw new Unavailable("the service has never answered this question before the outage", {
        cause,
      });
    }
    if (known.limits.length === 0) {
      throw new Unavailable("the service has named no limit of this question", { cause });
    }
    let room = question.calls || 1;
    for (const limit of known.limits.filter(isBinding)) {
      const part = Math.floor(limit.outageShare / processes);
      const left = part - (this.#logs.get(limitKey(question.org, limit))?.used() ?? 0);
      room = Math.min(room, Math.floor(left / unitsPerCall(question, limit)));
      if (room < (question.minCalls || question.calls || 1)) {
        throw new Unavailable(
          `this process's part of the outage share of ${limit.name} of ${limit.identity}, ${part}, is used up`,
          { cause },
        );
      }
    }
    return room;
  }

  #take(
    question: AcquireOptions,
    limits: readonly LimitUsage[],
    calls: number,
    decidedAt: Moment,
  ): Use[] {
    if (this.#logs.size > MAX_QUESTIONS) {
      for (const [key, log] of this.#logs) {
        if (log.used() === 0) {
          this.#logs.delete(key);
        }
      }
    }
    const binding = limits.filter(isBinding).map((limit) => {
      const key = limitKey(question.org, limit);
      const log = this.#logs.get(key) ?? new Log();
      this.#logs.set(key, log);
      return { limit, log };
    });
    const expiry = decidedAt.processMs + PERMIT_TTL_MS;
    return Array.from({ length: calls }, () => ({
      settled: false,
      entries: binding.map(({ limit, log }) =>
        log.add(limit, unitsPerCall(question, limit), expiry + TRAVEL_MS + limit.windowMs),
      ),
    }));
  }
}

/** One unit's stay in a log. Times are of `performance.now()`: it never runs ahead of a window. */
interface Entry {
  readonly log: Log;
  readonly isSlot: boolean;
  readonly windowMs: number;
  readonly units: number;
  leavesAt: number;
}

/** One call, in the logs of all its limits. */
interface Use {
  settled: boolean;
  readonly entries: readonly Entry[];
}

/** What this process has used of one limit in outages. */
class Log {
  readonly #entries = new Set<Entry>();

  add(limit: LimitUsage, units: number, leavesAt: number): Entry {
    const isSlot = limit.kind === "concurrency";
    const entry = { log: this, isSlot, windowMs: limit.windowMs, units, leavesAt };
    this.#entries.add(entry);
    return entry;
  }

  remove(entry: Entry): void {
    this.#entries.delete(entry);
  }

  used(): number {
    const nowMs = performance.now();
    let units = 0;
    for (const entry of this.#entries) {
      if (entry.leavesAt <= nowMs) {
        this.#entries.delete(entry);
      } else {
        units += entry.units;
      }
    }
    return units;
  }
}

/** Settles the calls of an outage's permit in this process's logs. */
class LocalSettler implements Settler {
  readonly #uses: readonly Use[];

  constructor(uses: readonly Use[]) {
    this.#uses = uses;
  }

  async report(
    call: number,
    calls: number,
    settling: Answer | Promise<Answer>,
  ): Promise<Settlement> {
    const answer = await settling;
    // After 5xx, as without an answer, bytes may still travel.
    const isAnswered = answer.status >= 100 && answer.status < 500;
    let isNews = false;
    for (const use of this.#uses.slice(call, call + calls)) {
      if (use.settled || !isAnswered) {
        continue;
      }
      use.settled = true;
      isNews = true;
      for (const entry of use.entries) {
        if (entry.isSlot) {
          entry.log.remove(entry);
        } else {
          const left = (answer.receivedAt ?? performance.now()) + entry.windowMs;
          entry.leavesAt = Math.min(entry.leavesAt, left);
        }
      }
    }
    return { delivered: true, alreadySettled: !isNews, advice: "continue" };
  }

  async release(unused: number | undefined): Promise<number> {
    const unsettled = this.#uses.filter((use) => !use.settled);
    const returned = unused === undefined ? unsettled : unsettled.slice(-unused);
    for (const use of returned) {
      use.settled = true;
      for (const entry of use.entries) {
        entry.log.remove(entry);
      }
    }
    return returned.length;
  }
}

function validate(policy: OutagePolicy | undefined): void {
  if (policy === undefined || policy === "closed" || policy === "open") {
    return;
  }
  const processes = typeof policy === "object" ? policy.safe?.processes : undefined;
  if (!Number.isInteger(processes) || (processes ?? 0) < 1) {
    throw new TypeError(`${JSON.stringify(policy)} is no outage policy`);
  }
}

function isOfUser(limit: LimitUsage): boolean {
  return limit.scope === "execution_user";
}

/** Whether the service refuses anything for the limit's sake. */
function isBinding(limit: LimitUsage): boolean {
  return limit.max > 0 && !limit.shadow;
}

/** A slot is one call's; of windows the cost, which is never less than what they are charged. */
function unitsPerCall(question: AcquireOptions, limit: LimitUsage): number {
  return limit.kind === "concurrency" ? 1 : question.cost || 1;
}

function questionKey({ org, workspace, operation, executionUser }: AcquireOptions): string {
  const user = canonicalUser(executionUser ?? "");
  return JSON.stringify([canonicalOrg(org), workspace ?? "", operation, user]);
}

function limitKey(org: string, { scope, identity, name }: LimitUsage): string {
  return JSON.stringify([canonicalOrg(org), scope, identity, name]);
}

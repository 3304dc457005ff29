import { Unavailable } from "./errors.js";

/** The most settlements that are under way or wait to be tried again. */
const MAX_PENDING = 1_000;
const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 1_000;

interface Job {
  readonly abort: AbortController;
  /** Ends a pause between two tries. */
  wake: () => void;
}

/**
 * Reports and releases on their way to the service: tried again while the permit
 * lives, in memory that is bounded, and never a failure for the caller.
 */
export class Settlements {
  readonly #pending = new Set<Job>();
  #onIdle: () => void = () => {};

  /**
   * Makes `attempt` until it succeeds, is refused for good, or `isWorthIt` no
   * longer. `undefined` if it did not succeed.
   */
  async submit<T>(
    attempt: (signal: AbortSignal) => Promise<T>,
    isWorthIt: () => boolean,
  ): Promise<T | undefined> {
    const job: Job = { abort: new AbortController(), wake: () => {} };
    this.#pending.add(job);
    const [oldest] = this.#pending;
    if (this.#pending.size > MAX_PENDING && oldest) {
      this.#drop(oldest);
    }
    try {
      return await this.#run(job, attempt, isWorthIt);
    } finally {
      this.#pending.delete(job);
      if (this.#pending.size === 0) {
        this.#onIdle();
      }
    }
  }

  /** Waits until nothing is pending; what then still is, is dropped. */
  async flush(withinMs: number): Promise<void> {
    if (this.#pending.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, withinMs);
        this.#onIdle = () => {
          clearTimeout(timer);
          resolve();
        };
        for (const job of this.#pending) {
          job.wake();
        }
      });
    }
    for (const job of this.#pending) {
      this.#drop(job);
    }
  }

  async #run<T>(
    job: Job,
    attempt: (signal: AbortSignal) => Promise<T>,
    isWorthIt: () => boolean,
  ): Promise<T | undefined> {
    const { signal } = job.abort;
    for (let backoff = FIRST_BACKOFF_MS; ; backoff = Math.min(2 * backoff, MAX_BACKOFF_MS)) {
      try {
        return await attempt(signal);
      } catch (error) {
        if (!(error instanceof Unavailable) || !isWorthIt()) {
          return undefined;
        }
      }
      await pause(job, backoff * (0.5 + Math.random() / 2));
      if (signal.aborted || !isWorthIt()) {
        return undefined;
      }
    }
  }

  #drop(job: Job): void {
    this.#pending.delete(job);
    job.abort.abort();
    job.wake();
  }
}

function pause(job: Job, ms: number): Promise<void> {
  return new Promise((resolve) => {
    // Settling is no reason for a process to stay.
    const timer = setTimeout(resolve, ms).unref();
    job.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

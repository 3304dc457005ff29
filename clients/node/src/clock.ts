import { uptime } from "node:os";
import { performance } from "node:perf_hooks";

/** A moment by this process's clocks. Neither follows the wall clock's steps. */
export interface Moment {
  /** Milliseconds of `performance.now()`, which stands still while the machine is suspended. */
  readonly processMs: number;
  /** Milliseconds since the machine was started, time in suspend included. */
  readonly bootMs: number;
}

/** This moment. */
export function now(): Moment {
  return { processMs: performance.now(), bootMs: bootMs() };
}

/**
 * Milliseconds since `moment`, never fewer than have passed: the larger of both
 * clocks' figures. For deadlines.
 */
export function elapsedAtLeast(moment: Moment): number {
  const { processMs, bootMs } = now();
  return Math.max(processMs - moment.processMs, bootMs - moment.bootMs, 0);
}

function bootMs(): number {
  try {
    return uptime() * 1000;
  } catch {
    // Some sandboxes hide it. Then a suspended machine is not noticed.
    return 0;
  }
}

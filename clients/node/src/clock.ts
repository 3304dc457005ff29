import { uptime } from "node:os";
import { performance } from "node:perf_hooks";

/** A moment by this process's clocks. */
export interface Moment {
  /** Milliseconds of `performance.now()`, which stands still while the machine is suspended. */
  readonly processMs: number;
  /** Seconds since the machine was started, time in suspend included, in steps. */
  readonly bootSeconds: number;
}

/** This moment. */
export function now(): Moment {
  return { processMs: performance.now(), bootSeconds: bootSeconds() };
}

/** Milliseconds since `moment`, time in suspend included. For deadlines. */
export function elapsedMs(moment: Moment): number {
  const { processMs, bootSeconds } = now();
  const awake = processMs - moment.processMs;
  const all = (bootSeconds - moment.bootSeconds) * 1_000;
  // Linux shows hundredths of a second, others whole ones. What differs by no more
  // than a step has been no suspend.
  const isCoarse = Number.isInteger(bootSeconds) && Number.isInteger(moment.bootSeconds);
  return all > awake + (isCoarse ? 1_000 : 20) ? all : awake;
}

function bootSeconds(): number {
  try {
    return uptime();
  } catch {
    // Some sandboxes hide it. Then a suspended machine is not noticed.
    return 0;
  }
}

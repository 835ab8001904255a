import { Failure, messageOf } from "../base/failure.ts";
import { Backoff, sleep } from "./backoff.ts";
import type { BackoffLimits } from "./backoff.ts";
import type { Log } from "./log.ts";

export interface Waiting {
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly limits: BackoffLimits;
  /** Told why it waits, and undefined when it no longer does. */
  readonly report: (problem: string | undefined) => void;
}

/**
 * Repeats an action until it succeeds, because every failure here may pass. Logs why it waits, once
 * for each reason.
 * @throws the signal's reason when it is aborted; anything that is not a {@link Failure}, because
 *   that is a defect.
 */
export async function untilDone<T>(action: () => Promise<T>, waiting: Waiting): Promise<T> {
  const { log, signal, limits, report } = waiting;
  const backoff = new Backoff(limits);
  const reported = new Set<string>();
  for (;;) {
    signal.throwIfAborted();
    try {
      const done = await action();
      if (reported.size > 0) report(undefined);
      return done;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Failure)) throw error;
      const problem = messageOf(error);
      if (!reported.has(problem)) {
        log.warn(`${problem} ${error.advice} Trying again until it works.`);
        reported.add(problem);
        // Another reason means progress: it may succeed soon.
        backoff.reset();
      }
      report(problem);
    }
    await sleep(backoff.next(), signal);
  }
}

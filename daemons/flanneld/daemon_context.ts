import type { Log } from "../../shared/daemon/log.ts";
import { untilDone } from "../../shared/daemon/until_done.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import type { LeaseManager } from "./leases/lease_manager.ts";
import type { Options } from "./options.ts";
import type { Readiness, Step } from "./readiness.ts";

/** Milliseconds between attempts at what can work later. */
const limits = { first: 200, most: 3000 };

/** What all parts of a running flanneld work with. */
export interface DaemonContext {
  readonly sys: LastingSys;
  readonly options: Options;
  readonly log: Log;
  readonly manager: LeaseManager;
  readonly readiness: Readiness;
  /** Ends all of it. */
  readonly signal: AbortSignal;
  /** What has been opened, and is closed at the end. */
  readonly opened: { readonly close: () => void }[];
}

/**
 * Repeats a step until it succeeds. Meanwhile the readiness tells what it waits for.
 * @throws the signal's reason when it is aborted.
 */
export async function untilStep<T>(
  { log, readiness, signal }: Pick<DaemonContext, "log" | "readiness" | "signal">,
  step: Step,
  action: () => Promise<T>,
): Promise<T> {
  const done = await untilDone(action, {
    ...{ log, signal, limits },
    report: (problem) => {
      readiness.waitsFor(step, problem);
    },
  });
  readiness.done(step);
  return done;
}

/** Does what nobody waits for, and which ends without a failure when the signal is aborted. */
export async function untilAborted(signal: AbortSignal, action: () => Promise<void>) {
  try {
    await action();
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

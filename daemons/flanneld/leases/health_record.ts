import { untilDone } from "../../../shared/daemon/until_done.ts";
import type { BackoffLimits } from "../../../shared/daemon/backoff.ts";
import type { Log } from "../../../shared/daemon/log.ts";
import type { LeaseManagerHealth } from "./lease_manager.ts";

/** Milliseconds between attempts. */
const limits = { first: 250, most: 5000 };

/** The health of a lease manager, with the problem of each of its activities. */
export class HealthRecord {
  /** When the own lease ends; milliseconds since the epoch. */
  leaseExpiry: number | undefined;
  readonly #log: Log;
  readonly #problems = new Map<string, string>();
  #lastEvent: number | undefined;
  #errors = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  get health(): LeaseManagerHealth {
    const [problem] = this.#problems.values();
    const [lastEvent, errors, leaseExpiry] = [this.#lastEvent, this.#errors, this.leaseExpiry];
    return { problem, lastEvent, errors, leaseExpiry };
  }

  /** Why an activity fails, if it does. */
  problemOf(activity: string): string | undefined {
    return this.#problems.get(activity);
  }

  fail(activity: string, problem: string): void {
    this.#problems.set(activity, problem);
    this.countError();
  }

  /** Counts a failed request that nothing waits for. */
  countError(): void {
    this.#errors++;
  }

  /** The watch has given a sign of life. */
  hear(): void {
    this.#lastEvent = Date.now();
    this.#problems.delete("watch");
  }

  /** See {@link untilDone}. */
  async untilDone<T>(
    activity: string,
    signal: AbortSignal,
    action: () => Promise<T>,
    pauses: BackoffLimits = limits,
  ): Promise<T> {
    return untilDone(action, {
      log: this.#log,
      signal,
      limits: pauses,
      report: (problem) => {
        if (problem === undefined) this.#problems.delete(activity);
        else this.fail(activity, problem);
      },
    });
  }
}

import { sleep } from "../../../shared/daemon/backoff.ts";
import { leaseTtl } from "./etcd_registry.ts";

/**
 * Milliseconds: the shortest time between renewals, and the longest without a look at the clock.
 */
const shortest = 60_000;
const longest = 3_600_000;

/**
 * Milliseconds until a lease is renewed: when half of its time is over, or earlier where the margin
 * before its end asks for it. So an outage of hours does no harm.
 * @param expiry in milliseconds since the epoch; undefined for a lease without end.
 * @param margin in minutes.
 */
export function renewalDelay(expiry: number | undefined, margin: number, now: number): number {
  if (expiry === undefined) return longest;
  const left = expiry - Math.max(margin * 60, leaseTtl / 2) * 1000 - now;
  return Math.min(Math.max(left, shortest), longest);
}

/** Waits for the next renewal. */
export class RenewalTimer {
  #restart: () => void = () => undefined;

  /** @param delay is asked again at each restart. */
  async wait(delay: () => number, signal: AbortSignal): Promise<void> {
    const restarted = new AbortController();
    this.#restart = () => restarted.abort();
    try {
      await sleep(delay(), AbortSignal.any([signal, restarted.signal]));
    } catch (error) {
      signal.throwIfAborted();
      if (!restarted.signal.aborted) throw error;
      await this.wait(delay, signal);
    }
  }

  /** Starts the wait again, because the lease has changed. */
  restart(): void {
    this.#restart();
  }
}

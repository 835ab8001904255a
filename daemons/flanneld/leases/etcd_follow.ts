import { Failure } from "../../../shared/base/failure.ts";
import { Backoff, sleep } from "../../../shared/daemon/backoff.ts";
import { Reconnected } from "../../../shared/etcd/etcd_failure.ts";
import type { WatchResponse } from "../../../shared/etcd/messages.ts";
import type { EtcdRegistry } from "./etcd_registry.ts";

/** Who wants to know about the entries. */
export interface EntryFollower {
  /**
   * Reads all entries.
   * @param isRestored whether etcd has an older state than before. What is missing may come again.
   * @returns the revision that they are of.
   * @throws Failure
   */
  readonly list: (isRestored: boolean) => Promise<number>;
  /** What has changed since. An empty list is a sign of life. */
  readonly onEvents: (events: WatchResponse["events"]) => void;
  /** A request has failed; it is made again. */
  readonly onFailure: (failure: Failure) => void;
}

const limits = { first: 100, most: 5000 };
/** Milliseconds in which the nodes write again what a restored etcd has lost. */
const restoreTime = 30_000;

/**
 * Follows the entries until aborted: lists them once, then watches from there. It lists them again
 * where etcd has forgotten what came in between, and twice where etcd was restored from a backup or
 * has lost its data: at once, and when all nodes have had the time to write their entries again.
 */
export async function followEntries(
  registry: Pick<EtcdRegistry, "watch">,
  follower: EntryFollower,
  signal: AbortSignal,
): Promise<never> {
  const backoff = new Backoff(limits);
  let next: number | undefined;
  /** Aborted when a restored etcd should have all entries again. */
  let restored: AbortSignal | undefined;
  for (;;) {
    if (restored?.aborted === true) [next, restored] = [undefined, undefined];
    try {
      next ??= (await follower.list(restored !== undefined)) + 1;
      const from = next;
      await registry.watch(
        from,
        ({ revision, created, compactRevision, canceled, cancelReason, events }) => {
          backoff.reset();
          if (created && revision > 0 && revision < from - 1) {
            next = undefined;
            restored = AbortSignal.any([signal, AbortSignal.timeout(restoreTime)]);
            throw watchEnded(`etcd is back at revision ${revision}`);
          }
          if (compactRevision > 0) {
            next = undefined;
            throw watchEnded(`etcd has forgotten what came before ${compactRevision}`);
          }
          if (canceled) throw watchEnded(cancelReason);
          follower.onEvents(events);
          if (revision > 0) next = Math.max(next ?? 0, revision + 1);
        },
        restored ?? signal,
      );
    } catch (error) {
      signal.throwIfAborted();
      if (restored?.aborted === true || error instanceof Reconnected) continue;
      if (!(error instanceof Failure)) throw error;
      follower.onFailure(error);
    }
    await sleep(backoff.next(), signal);
  }
}

function watchEnded(why: string): Failure {
  return new Failure(
    "io",
    `Cannot watch the subnets in etcd: ${why}.`,
    "Make sure that etcd runs and has a leader.",
  );
}

import { Failure } from "../../../shared/base/failure.ts";
import { Backoff, sleep } from "../../../shared/daemon/backoff.ts";
import type { WatchResponse } from "../../../shared/etcd/messages.ts";
import type { EtcdRegistry } from "./etcd_registry.ts";

/** Who wants to know about the entries. */
export interface EntryFollower {
  /** Reads all entries. @returns the revision that they are of. @throws Failure */
  readonly list: () => Promise<number>;
  /** What has changed since. An empty list is a sign of life. */
  readonly onEvents: (events: WatchResponse["events"]) => void;
  /** A request has failed; it is made again. */
  readonly onFailure: (failure: Failure) => void;
}

const limits = { first: 100, most: 5000 };

/**
 * Follows the entries until aborted: lists them once, then watches from there, and lists them again
 * only where etcd has forgotten what came in between.
 */
export async function followEntries(
  registry: Pick<EtcdRegistry, "watch">,
  follower: EntryFollower,
  signal: AbortSignal,
): Promise<never> {
  const backoff = new Backoff(limits);
  let next: number | undefined;
  for (;;) {
    try {
      next ??= (await follower.list()) + 1;
      await registry.watch(
        next,
        ({ revision, compactRevision, canceled, cancelReason, events }) => {
          backoff.reset();
          if (compactRevision > 0) {
            next = undefined;
            throw watchEnded(`etcd has forgotten what came before ${compactRevision}`);
          }
          if (canceled) throw watchEnded(cancelReason);
          follower.onEvents(events);
          if (revision > 0) next = Math.max(next ?? 0, revision + 1);
        },
        signal,
      );
    } catch (error) {
      signal.throwIfAborted();
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

import type { Lease } from "../../shared/flannel/lease.ts";
import type { ExternalInterface } from "./backends/backend.ts";
import type { PeerProblem } from "./reconciler_status.ts";

/** How far peers are reachable by other means than the kernel's tables. */
export interface KeptPeers {
  readonly wanted: number;
  readonly programmed: number;
  /** Peers of other backends. */
  readonly ignored: number;
  readonly failed: readonly PeerProblem[];
}

/** How far peers are reachable by the kernel's tables and by other means. */
export function withKept<Status extends KeptPeers>(
  overlay: Status,
  kept: readonly KeptPeers[],
): Status {
  const sum = (count: "wanted" | "programmed"): number =>
    kept.reduce((total, peers) => total + peers[count], overlay[count]);
  return {
    ...overlay,
    ...{ wanted: sum("wanted"), programmed: sum("programmed") },
    ignored: Math.min(overlay.ignored, ...kept.map(({ ignored }) => ignored)),
    failed: [...overlay.failed, ...kept.flatMap(({ failed }) => failed)],
  };
}

/** What reaches the peers of a backend by other means than the kernel's tables. */
export interface PeerKeeper {
  readonly status: KeptPeers;
  /** What of it does not work, as sentences. */
  readonly problems: readonly string[];
  /** Makes the backend's device where netlink cannot. @throws Failure */
  readonly createDevice?: (name: string) => void;
  /** @returns what this node publishes of itself. @throws Failure */
  prepare(): Promise<string | undefined>;
  /**
   * Takes what peers send, before they are told of the lease that this node most likely has.
   * @throws Failure
   */
  readonly listen?: (lease: Lease, external: ExternalInterface) => Promise<void>;
  /** Makes ready for this node's lease, and again where that or the interface changes. @throws Failure */
  follow(lease: Lease, external: ExternalInterface): Promise<void>;
  /**
   * Says which peers there are.
   * @param isComplete whether they are all: none is removed before.
   */
  setPeers(leases: Iterable<Lease>, isComplete: boolean): void;
  /** Whether a peer is reachable, has failed, or is none of the backend's; true unless told. */
  readonly hasTried?: (lease: Lease) => boolean;
  /** Resolves when each peer is reachable, or has failed, once. */
  whenSynced(): Promise<void>;
  close(): void;
}

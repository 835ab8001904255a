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

/** What reaches the peers of a backend by other means than the kernel's tables. */
export interface PeerKeeper {
  readonly status: KeptPeers;
  /** What of it does not work, as sentences. */
  readonly problems: readonly string[];
  /** Makes the backend's device where netlink cannot. @throws Failure */
  readonly createDevice?: (name: string) => void;
  /** @returns what this node publishes of itself. @throws Failure */
  prepare(): Promise<string | undefined>;
  /** Makes ready for this node's lease, and again where that or the interface changes. @throws Failure */
  follow(lease: Lease, external: ExternalInterface): Promise<void>;
  /**
   * Says which peers there are.
   * @param isComplete whether they are all: none is removed before.
   */
  setPeers(leases: Iterable<Lease>, isComplete: boolean): void;
  /** Resolves when each peer is reachable, or has failed, once. */
  whenSynced(): Promise<void>;
  close(): void;
}

import type { Json } from "../../../shared/base/json.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";

/** What an earlier run of flanneld on this node has published, for what must not change needlessly. */
export interface EarlierLease {
  readonly backendData: Json | undefined;
  readonly backendV6Data: Json | undefined;
}

/** How far the leases of the peers are known. */
export interface PeerLeases {
  /** The leases of all other nodes. */
  readonly leases: ReadonlyMap<string, Lease>;
  /** Whether the whole list has been read once: until then nothing of a peer may be removed. */
  readonly complete: boolean;
}

/** Where a node gets its subnet from, and learns of its peers': the Kubernetes API or etcd. */
export interface LeaseManager {
  /** The network's config; waits, with back-off, until there is a valid one. */
  config(signal: AbortSignal): Promise<NetConf>;
  /** What this node published before, if anything. */
  earlier(signal: AbortSignal): Promise<EarlierLease | undefined>;
  /** Publishes this node's attributes and gets its lease; waits until it can have one. */
  acquire(attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease>;
  /** Publishes changed attributes of the lease that {@link acquire} gave. */
  publish(attributes: LeaseAttributes, signal: AbortSignal): Promise<void>;
  /**
   * Follows the peers' leases until aborted, and keeps the own lease alive. Goes on through every
   * outage of the API; calls back at each change, several at once where they come in bursts.
   */
  watch(onChange: (peers: PeerLeases) => void, signal: AbortSignal): Promise<void>;
  /** Tells that the node's network is up (a node condition); retried until it has been told. */
  reportReady(signal: AbortSignal): Promise<void>;
  /** For status and metrics. */
  readonly health: LeaseManagerHealth;
}

export interface LeaseManagerHealth {
  /** What is waited for and why, in a sentence; undefined when all is well. */
  readonly problem: string | undefined;
  /** Milliseconds since the epoch of the last sign of life of the watch; undefined before the first. */
  readonly lastEvent: number | undefined;
  /** Failed requests so far. */
  readonly errors: number;
  /** When the own lease ends, for etcd; milliseconds since the epoch. */
  readonly leaseExpiry: number | undefined;
}

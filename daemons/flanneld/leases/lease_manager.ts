import type { Json } from "../../../shared/base/json.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import type { Address } from "../../../shared/net/address.ts";

/** What the administrator has set for this node alone. */
export interface NodeSettings {
  /** As --public-ip and --public-ipv6, which they take the place of. */
  readonly publicIp: Address | undefined;
  readonly publicIpv6: Address | undefined;
  /** As --iface and --iface-regex, which they come before. */
  readonly iface: string | undefined;
  readonly ifaceRegex: string | undefined;
  /** The MTU to take for the interface's; bytes. */
  readonly mtu: number | undefined;
}

/** What an earlier run of flanneld on this node has published, for what must not change needlessly. */
export interface EarlierLease {
  readonly backendData: Json | undefined;
  readonly backendV6Data: Json | undefined;
}

/** How far the leases of the peers are known. */
export interface PeerLeases {
  /**
   * The leases of all other nodes. The same map each time, which the next call may find changed; a
   * lease that has not changed is the same object.
   */
  readonly leases: ReadonlyMap<string, Lease>;
  /** Peers whose lease makes no sense, and why: a clause to follow a colon. */
  readonly unreadable: ReadonlyMap<string, string>;
  /** Whether the whole list has been read once: until then nothing of a peer may be removed. */
  readonly complete: boolean;
}

/** Who wants to know what the lease manager learns. */
export interface LeaseListener {
  /** Called at each change, once for several that come at once. */
  readonly onPeers: (peers: PeerLeases) => void;
  /** The own lease is another one: with another subnet, or another address told to the peers. */
  readonly onOwn: (lease: Lease) => void;
}

/** Where a node gets its subnet from, and learns of its peers': the Kubernetes API or etcd. */
export interface LeaseManager {
  /** The network's config; waits, with back-off, until there is a valid one. */
  config(signal: AbortSignal): Promise<NetConf>;
  /** What is set for this node. */
  settings(signal: AbortSignal): Promise<NodeSettings>;
  /** What this node published before, if anything. */
  earlier(publicIp: Address | undefined, signal: AbortSignal): Promise<EarlierLease | undefined>;
  /** Publishes this node's attributes and gets its lease; waits until it can have one. */
  acquire(attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease>;
  /**
   * Publishes changed attributes of the lease that {@link acquire} gave, on new connections: those
   * from an address that the node no longer has would hear nothing.
   */
  publish(attributes: LeaseAttributes, signal: AbortSignal): Promise<void>;
  /**
   * Follows the leases until aborted, and keeps the own one alive. Goes on through every outage of
   * the API. May be called before {@link acquire}.
   */
  watch(listener: LeaseListener, signal: AbortSignal): Promise<void>;
  /** Makes sure of peers whose subnets contradict another's, as far as that is possible. */
  confirm(ids: Iterable<string>, signal: AbortSignal): void;
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

import type { Json } from "../../../shared/base/json.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import type { Address } from "../../../shared/net/address.ts";

/** What the administrator has set for this node alone. */
export interface NodeSettings {
  /** These replace --public-ip and --public-ipv6. */
  readonly publicIp: Address | undefined;
  readonly publicIpv6: Address | undefined;
  /** These take precedence over --iface and --iface-regex. */
  readonly iface: string | undefined;
  readonly ifaceRegex: string | undefined;
  /** Bytes; replaces the MTU of the interface. */
  readonly mtu: number | undefined;
}

/** What an earlier run on this node has published, and should not change without need. */
export interface EarlierLease {
  readonly backendType: string;
  readonly backendData: Json | undefined;
  readonly backendV6Data: Json | undefined;
}

/** A node's lease, as far as it is known before it is acquired. */
export type KnownLease = Pick<Lease, "id" | "subnet" | "subnetV6">;

/** How far the leases of the peers are known. */
export interface PeerLeases {
  /**
   * The leases of all other nodes. It is the same map at each call, and may change in between; an
   * unchanged lease stays the same object.
   */
  readonly leases: ReadonlyMap<string, Lease>;
  /** Why leases cannot be read: clauses to follow a colon. */
  readonly unreadable: ReadonlyMap<string, string>;
  /** Whether the whole list has been read once. Until then nothing may be removed. */
  readonly complete: boolean;
  /** The ids of leases that are new, other or gone since the last call; undefined for any. */
  readonly changed: ReadonlySet<string> | undefined;
}

/** Who wants to know what the lease manager learns. */
export interface LeaseListener {
  /** Called after changes, once for those that come together. */
  readonly onPeers: (peers: PeerLeases) => void;
  /** This node's lease has another subnet, or another address that peers are told. */
  readonly onOwn: (lease: Lease) => void;
}

/** The source of this node's subnet and of its peers' leases: the Kubernetes API or etcd. */
export interface LeaseManager {
  /** The network's config; waits, with back-off, until there is a valid one. */
  config(signal: AbortSignal): Promise<NetConf>;
  /** What is set for this node. */
  settings(signal: AbortSignal): Promise<NodeSettings>;
  /** What this node published before, if anything. */
  earlier(publicIp: Address | undefined, signal: AbortSignal): Promise<EarlierLease | undefined>;
  /** The lease that this node would get; undefined where it would choose a subnet. */
  expected(publicIp: Address | undefined, signal: AbortSignal): Promise<KnownLease | undefined>;
  /** Publishes this node's attributes and gets its lease; waits until it can have one. */
  acquire(attributes: LeaseAttributes, signal: AbortSignal): Promise<Lease>;
  /**
   * Publishes changed attributes of this node's lease. It makes new connections, because those from
   * a lost address would hear nothing.
   */
  publish(attributes: LeaseAttributes, signal: AbortSignal): Promise<void>;
  /**
   * Follows the leases until aborted, through every outage of the API, and keeps this node's lease
   * alive. May be called before {@link acquire}.
   */
  watch(listener: LeaseListener, signal: AbortSignal): Promise<void>;
  /** Reads peers whose subnets overlap another's from a more reliable source, if there is one. */
  confirm(ids: Iterable<string>, signal: AbortSignal): void;
  /** Tells that the node's network is up (a node condition); retried until it has been told. */
  reportReady(signal: AbortSignal): Promise<void>;
  /**
   * Tells the cluster what this node waits for, as sentences, where that has a place for it. Called
   * every few seconds; it never fails.
   */
  tell(waits: readonly string[], signal: AbortSignal): Promise<void>;
  /** For status and metrics. */
  readonly health: LeaseManagerHealth;
}

export interface LeaseManagerHealth {
  /** What the manager waits for and why, as a sentence; undefined when all is well. */
  readonly problem: string | undefined;
  /** Milliseconds since the epoch of the last sign of life of the watch; undefined before the first. */
  readonly lastEvent: number | undefined;
  /** Failed requests so far. */
  readonly errors: number;
  /** When the own lease ends, for etcd; milliseconds since the epoch. */
  readonly leaseExpiry: number | undefined;
}

import { formatAddress } from "../../shared/net/address.ts";
import { formatCidr } from "../../shared/net/cidr.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import type { ExternalInterface } from "./backends/backend.ts";
import type { LeaseManagerHealth } from "./leases/lease_manager.ts";
import type { PeerProblem, ReconcilerStatus, WantedPeer } from "./reconciler_status.ts";
import type { TrafficStatus } from "./traffic/keeper.ts";

/** The state of flanneld, which `flanneld status` reads from its socket. */
export interface Snapshot {
  readonly version: string;
  readonly pid: number;
  /** Why the node's network is not up yet. */
  readonly waitsFor?: string | undefined;
  /** What flanneld waits for now, as sentences; the network may be up all the same. */
  readonly waits: readonly string[];
  readonly subnets: readonly string[];
  /** Milliseconds since the epoch. */
  readonly leaseExpiry?: number | undefined;
  readonly interface?: string | undefined;
  readonly publicIps: readonly string[];
  readonly backend?: string | undefined;
  /** Bytes, of the pods. */
  readonly mtu?: number | undefined;
  readonly leases: {
    readonly problem?: string | undefined;
    readonly lastEvent?: number | undefined;
    readonly errors: number;
  };
  readonly overlay?: ReconcilerStatus | undefined;
  readonly peers?: readonly WantedPeer[] | undefined;
  /** Peers whose leases are refused. */
  readonly refused: readonly Omit<PeerProblem, "attempts" | "subnet">[];
  readonly traffic?: TrafficStatus | undefined;
}

export interface SnapshotParts {
  readonly version: string;
  readonly waitsFor: string | undefined;
  readonly waits: readonly string[];
  readonly lease: Lease | undefined;
  readonly external: ExternalInterface | undefined;
  readonly backend: string | undefined;
  readonly mtu: number | undefined;
  readonly health: LeaseManagerHealth;
  readonly overlay: ReconcilerStatus | undefined;
  readonly peers: readonly WantedPeer[] | undefined;
  readonly refused: ReadonlyMap<string, string> | undefined;
  readonly traffic: TrafficStatus | undefined;
}

export function takeSnapshot(parts: SnapshotParts): Snapshot {
  const { lease, external, health, refused } = parts;
  const subnets = [lease?.subnet, lease?.subnetV6].filter((subnet) => subnet !== undefined);
  const addresses = [external?.publicIp, external?.publicIpv6].filter(
    (address) => address !== undefined,
  );
  return {
    version: parts.version,
    pid: process.pid,
    waitsFor: parts.waitsFor,
    waits: parts.waits,
    subnets: subnets.map(formatCidr),
    leaseExpiry: health.leaseExpiry,
    interface: external?.name,
    publicIps: addresses.map(formatAddress),
    backend: parts.backend,
    mtu: parts.mtu,
    leases: { problem: health.problem, lastEvent: health.lastEvent, errors: health.errors },
    overlay: parts.overlay,
    peers: parts.peers,
    refused: [...(refused ?? [])].map(([id, problem]) => ({ id, problem })),
    traffic: parts.traffic,
  };
}

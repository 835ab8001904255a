import type { Address } from "../../../shared/net/address.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import type { ListedFdbEntry, NeighbourEntry } from "../../../shared/netlink/neighbour.ts";
import type { TableRoute } from "../../../shared/netlink/route.ts";
import type { VxlanLink } from "../../../shared/netlink/vxlan.ts";
import type { Link } from "../../../shared/node/node.ts";

/** What joins this node to the others: flanneld's vxlan devices, whichever flanneld made them, or routes. */
export interface OverlayView {
  readonly devices: readonly OverlayDevice[];
  /** All of the main tables. */
  readonly routes: readonly TableRoute[];
  /** Whether a flanneld of this project was here and does not answer. */
  readonly isStopped: boolean;
  /** Peers that flanneld wants reachable, where it tells. */
  readonly wanted: readonly WantedPeer[];
  /** Peers that the kernel refuses to flanneld, and why. */
  readonly failed: readonly RefusedPeer[];
  /** Peers that flanneld does not route to, and why. */
  readonly refused: readonly RefusedPeer[];
  /** Some peers that were asked for an answer. */
  readonly probes: readonly Probe[];
  /** Whether packets of a device's whole MTU arrive at a peer that answers small ones. */
  readonly pathProbes: readonly PathProbe[];
  /** Packets with a wrong checksum that this node has received since its start. */
  readonly wrongChecksums: number;
}

/** A device of one family, with all that leads through it. */
export interface OverlayDevice {
  readonly link: VxlanLink;
  /** What its packets leave by; undefined if that is not known. */
  readonly parent: ParentLink | undefined;
  readonly routes: readonly TableRoute[];
  /** The permanent ones. */
  readonly neighbours: readonly NeighbourEntry[];
  readonly fdb: readonly ListedFdbEntry[];
}

export interface ParentLink extends Link {
  /** The driver of its hardware; undefined for a virtual one. */
  readonly driver: string | undefined;
}

/** A peer of one family. */
export interface WantedPeer {
  readonly id: string;
  readonly subnet: Cidr;
  /** Undefined where the device itself knows the peer. */
  readonly gateway: Address | undefined;
  /** Undefined where packets are not tunnelled. */
  readonly vtepMac: string | undefined;
}

export interface RefusedPeer {
  readonly id: string;
  readonly problem: string;
}

/** Whether a peer answers, by its own address and through the tunnel. */
export interface Probe {
  readonly device: string;
  readonly port: number;
  readonly subnet: Cidr;
  readonly publicIp: Address;
  readonly answersDirectly: boolean;
  readonly answersByTunnel: boolean;
}

export interface PathProbe {
  readonly device: string;
  readonly publicIp: Address;
  /** Bytes: the device's MTU. */
  readonly mtu: number;
  readonly passes: boolean;
}

import type { Json } from "../../../shared/base/json.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import type { Address, Family } from "../../../shared/net/address.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import type { NextHop } from "../../../shared/netlink/route.ts";

/** The interface that leads to the other nodes, and what they are told of it. */
export interface ExternalInterface {
  readonly name: string;
  readonly index: number;
  /** Bytes. */
  readonly mtu: number;
  /** Its own addresses. */
  readonly address: Address | undefined;
  readonly addressV6: Address | undefined;
  /** Where peers are told to send packets to: these addresses, as a rule. */
  readonly publicIp: Address | undefined;
  readonly publicIpv6: Address | undefined;
}

/** MACs of this node's devices for IPv4 and IPv6, as peers know them. */
export interface DeviceMacs {
  readonly ipv4: string;
  readonly ipv6: string;
}

/** A vxlan device that a backend wants, with the one address that it has. */
export interface WantedDevice {
  readonly name: string;
  readonly family: Family;
  readonly vni: number;
  /** Where its packets come from. */
  readonly local: Address;
  /** Undefined for the kernel's own choice. */
  readonly port: number | undefined;
  readonly learning: boolean;
  readonly gbp: boolean;
  readonly mac: string;
  readonly mtu: number;
  readonly address: Cidr;
}

/** A peer's subnet of one family, and what the peer tells of itself, found to make sense. */
export interface Peer {
  /** The lease's. */
  readonly id: string;
  readonly subnet: Cidr;
  readonly publicIp: Address;
  readonly backendType: string;
  readonly backendData: Json | undefined;
}

/** What makes a peer's subnet reachable. */
export interface PeerObjects {
  /**
   * The MAC of its end of the tunnel, which the subnet's own address has and which is behind its
   * public address; undefined where packets go to the peer as they are.
   */
  readonly vtepMac: string | undefined;
  readonly gateway: Address;
  /** Index of the link that the route leads through, or "device" for this family's own device. */
  readonly link: number | "device";
}

/** What is known of the way to a peer. */
export interface JoinContext {
  readonly external: ExternalInterface;
  /** This node's own device for the peer's family. */
  readonly device: WantedDevice | undefined;
  /** Where packets to the peer's public address leave, where the backend has asked for it. */
  readonly nextHop: NextHop | undefined;
}

/**
 * How nodes are joined. A backend says what has to be there, and does nothing itself: it knows
 * neither the kernel nor the time.
 */
export interface Backend {
  /** As peers are told; "" where they are told nothing. */
  readonly type: string;
  /** The MTU of the pods. */
  readonly mtu: (external: ExternalInterface) => number;
  /** Why nodes cannot be joined by this interface, as a sentence; undefined if they can. */
  readonly problem: (external: ExternalInterface) => string | undefined;
  /** What to publish. */
  readonly attributes: (external: ExternalInterface, macs: DeviceMacs) => LeaseAttributes;
  readonly devices: (
    own: Lease,
    external: ExternalInterface,
    macs: DeviceMacs,
  ) => readonly WantedDevice[];
  /** Whether a peer takes a look at where packets to it leave. */
  readonly asksNextHop: (peer: Peer) => boolean;
  /**
   * @returns what makes a peer reachable; or why it cannot be, as the end of a sentence that begins
   *   with the peer's name; or undefined where it is none of the backend's peers.
   */
  readonly join: (peer: Peer, context: JoinContext) => PeerObjects | string | undefined;
}

/** The families that a network has, of which a node has a subnet each. */
export interface Networks {
  readonly ipv4: Cidr | undefined;
  readonly ipv6: Cidr | undefined;
}

import type { Json } from "../../../shared/base/json.ts";
import type { Secret } from "../../../shared/base/secret.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import type { Address, Family } from "../../../shared/net/address.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import type { NextHop } from "../../../shared/netlink/route.ts";
import type { WireguardPeer } from "../../../shared/netlink/wireguard.ts";

/** The interface that leads to the other nodes, and what they are told of it. */
export interface ExternalInterface {
  readonly name: string;
  readonly index: number;
  /** Bytes. */
  readonly mtu: number;
  /** Its own addresses. */
  readonly address: Address | undefined;
  readonly addressV6: Address | undefined;
  /** The addresses that peers are told to send packets to; normally those above. */
  readonly publicIp: Address | undefined;
  readonly publicIpv6: Address | undefined;
}

/** MACs of this node's devices for IPv4 and IPv6, as peers know them. */
export interface DeviceMacs {
  readonly ipv4: string;
  readonly ipv6: string;
}

/** A device that a backend wants, with the one address that it has. */
interface WantedLink {
  readonly name: string;
  readonly family: Family;
  readonly mtu: number;
  readonly address: Cidr;
  /** Whether all of the network leads through it, where no better route leads on. */
  readonly takesAll?: boolean;
}

export interface WantedVxlan extends WantedLink {
  readonly kind: "vxlan";
  readonly vni: number;
  /** Where its packets come from. */
  readonly local: Address;
  /** Undefined for the kernel's own choice. */
  readonly port: number | undefined;
  readonly learning: boolean;
  readonly gbp: boolean;
  readonly mac: string;
}

/** A tun device, whose packets a program of this node's takes. */
export interface WantedTun extends WantedLink {
  readonly kind: "tun";
}

/** A device that puts packets into IPv4 packets, which go where the route says. */
export interface WantedIpip extends WantedLink {
  readonly kind: "ipip";
  /** Where its packets come from. */
  readonly local: Address;
}

/** A device that encrypts. One for both families is wanted once for each, with the same key and port. */
export interface WantedWireguard extends WantedLink {
  readonly kind: "wireguard";
  readonly keys: WireguardKeys;
  readonly port: number;
}

/** This node's keys. */
export interface WireguardKeys {
  readonly privateKey: Secret;
  /** In base64. */
  readonly publicKey: string;
}

export type WantedDevice = WantedVxlan | WantedTun | WantedIpip | WantedWireguard;

/** A peer's subnet of one family, and its attributes, which have been checked. */
export interface Peer {
  /** The lease's. */
  readonly id: string;
  readonly subnet: Cidr;
  readonly publicIp: Address;
  readonly backendType: string;
  readonly backendData: Json | undefined;
  /** What a peer whose device may be for both families has published of the other one. */
  readonly otherFamily?: PeerSide | undefined;
}

export interface PeerSide {
  readonly publicIp: Address | undefined;
  readonly backendData: Json | undefined;
}

/** What makes a peer's subnet reachable. */
export interface PeerObjects {
  /**
   * The MAC of the peer's end of the tunnel: its neighbour entry is for the subnet's own address,
   * its forwarding entry leads to the public address. Undefined where packets are not tunnelled.
   */
  readonly vtepMac: string | undefined;
  /** What the device that the link names, which encrypts, has to know of the peer. */
  readonly wireguard?: Omit<WireguardPeer, "allowed"> | undefined;
  /** Undefined for a device that knows where packets go. */
  readonly gateway: Address | undefined;
  /**
   * What the route leads through: the index of a link, or the name of a device of the backend's; or "none"
   * for no route yet.
   */
  readonly link: number | string;
}

/** What is known of the way to a peer. */
export interface JoinContext {
  readonly external: ExternalInterface;
  /** This node's own devices. */
  readonly devices: readonly WantedDevice[];
  /** The next hop to the peer's public address, if the backend has asked for it. */
  readonly nextHop: NextHop | undefined;
  /** Whether peers have been told what this node is now. */
  readonly isPublished: boolean;
}

/**
 * How nodes are connected. A backend says what the kernel must have, and changes nothing itself.
 */
export interface Backend {
  /** As it is published; "" if it is not. */
  readonly type: string;
  /** Whether flanneld makes the routes to peers: otherwise those without its mark are another's. */
  readonly makesRoutes: boolean;
  /**
   * The names of devices that encrypt, by family. The kernel does not tell of changes in them, so they are
   * looked at every few seconds.
   */
  readonly wireguardDevices?: ReadonlyMap<Family, string>;
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
  /** Whether {@link join} needs the next hop to the peer. */
  readonly asksNextHop: (peer: Peer) => boolean;
  /**
   * @returns what makes a peer reachable; or, as the end of a sentence that begins with the
   *   peer's name, why it cannot be reached; or undefined if it is not one of the backend's peers.
   */
  readonly join: Join;
  /** The same where another backend's device takes all of the network; {@link join} unless told. */
  readonly joinAlone?: Join;
}

type Join = (peer: Peer, context: JoinContext) => PeerObjects | string | undefined;

/** The networks of the families. A node has a subnet of each. */
export interface Networks {
  readonly ipv4: Cidr | undefined;
  readonly ipv6: Cidr | undefined;
}

import type { Address } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";

/**
 * One change to a network namespace, as plain data: what a plan is made of. The kernel folder turns
 * steps into netlink messages and sysctl writes; a test compares them, a fault test counts them.
 */
export type LinkChange =
  | CreateBridge
  | CreateVeth
  | SetLink
  | SetBridge
  | SetPort
  | AddPortVlans
  | DeletePortVlan
  | AddAddress
  | DeleteAddress
  | DeleteNeighbour
  | AddRoute
  | DeleteLink
  | SetSysctl;

/** Makes a bridge, up, with a MAC of its own. */
export interface CreateBridge {
  readonly kind: "create-bridge";
  readonly name: string;
  /** Given at creation, for a bridge without one takes its lowest port's and changes with them. */
  readonly mac: string;
  /** Bytes; absent for the kernel's choice. */
  readonly mtu: number | undefined;
  readonly vlanFiltering: boolean;
}

/** Makes a veth pair, both ends down: `name` here, and its peer in the host's namespace. */
export interface CreateVeth {
  readonly kind: "create-veth";
  readonly name: string;
  readonly mac: string;
  readonly peer: string;
  readonly peerMac: string;
  readonly mtu: number | undefined;
}

/** Changes what it names of a link. */
export interface SetLink {
  readonly kind: "set-link";
  readonly name: string;
  readonly up?: boolean;
  readonly mac?: string;
  /** Name of the bridge that it becomes a port of. */
  readonly master?: string;
  readonly promiscuous?: boolean;
}

/** Makes a bridge that is there already tell VLANs apart. */
export interface SetBridge {
  readonly kind: "set-bridge";
  readonly name: string;
  readonly vlanFiltering: true;
}

/** Changes what a bridge knows of its port `name`. */
export interface SetPort {
  readonly kind: "set-port";
  readonly name: string;
  /** Whether what comes in by it may go out by it. */
  readonly hairpin: boolean;
  /** Whether it may reach other isolated ports. */
  readonly isolated: boolean;
}

/** Lets frames of VLANs `first` to `last` pass a bridge port. */
export interface AddPortVlans {
  readonly kind: "add-port-vlans";
  readonly link: string;
  readonly first: number;
  readonly last: number;
  /** Whether frames pass without a tag: an access port, of one VLAN. */
  readonly untagged: boolean;
}

/** Lets frames of a VLAN pass a bridge port no more. */
export interface DeletePortVlan {
  readonly kind: "delete-port-vlan";
  readonly link: string;
  readonly vid: number;
}

/** Gives a link an address, at once usable. One that it has already is left as it is. */
export interface AddAddress {
  readonly kind: "add-address";
  readonly link: string;
  readonly address: Cidr;
  /** Whether the kernel first looks whether another has an IPv6 address (RFC 4862). */
  readonly detectDuplicate: boolean;
}

export interface DeleteAddress {
  readonly kind: "delete-address";
  readonly link: string;
  readonly address: Cidr;
}

/** Forgets which MAC an address had on a link. One that is not known is fine. */
export interface DeleteNeighbour {
  readonly kind: "delete-neighbour";
  readonly link: string;
  readonly address: Address;
}

/**
 * Adds a route through a link. The same one is fine; where there is another one to the same place,
 * with the same priority, the new one goes before it in IPv4, and is left out in IPv6.
 */
export interface AddRoute {
  readonly kind: "add-route";
  readonly link: string;
  readonly dst: Cidr;
  readonly gw: Address | undefined;
  readonly mtu: number | undefined;
  readonly advmss: number | undefined;
  readonly priority: number | undefined;
  readonly table: number | undefined;
  readonly scope: number | undefined;
}

/** Deletes a link, and with a veth its peer. One that is gone is fine. */
export interface DeleteLink {
  readonly kind: "delete-link";
  readonly name: string;
}

/** Writes a sysctl of the namespace. */
export interface SetSysctl {
  readonly kind: "set-sysctl";
  /** Its path under /proc/sys, such as "net/ipv4/ip_forward". */
  readonly key: string;
  readonly value: string;
  /** Whether a kernel that lacks it is fine. */
  readonly optional: boolean;
}

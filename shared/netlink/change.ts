import type { Address } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";

/** How many ports a bridge can have: the kernel's BR_MAX_PORTS without 0, which is no port's number. */
export const bridgePortsMax = 1023;

/**
 * One change to a network namespace, as plain data. A plan is a list of them; shared/node turns them
 * into netlink messages and sysctl writes.
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

/** Makes a bridge with this MAC, and brings it up. */
export interface CreateBridge {
  readonly kind: "create-bridge";
  readonly name: string;
  /** A bridge made without a MAC takes its lowest port's, which changes as ports come and go. */
  readonly mac: string;
  /** Bytes; undefined for the kernel's default. */
  readonly mtu: number | undefined;
  readonly vlanFiltering: boolean;
}

/** Makes a veth pair with both ends down: `name` in this namespace, `peer` in the host's. */
export interface CreateVeth {
  readonly kind: "create-veth";
  readonly name: string;
  readonly mac: string;
  readonly peer: string;
  readonly peerMac: string;
  readonly mtu: number | undefined;
}

/** Changes those properties of a link that are given. */
export interface SetLink {
  readonly kind: "set-link";
  readonly name: string;
  readonly up?: boolean;
  readonly mac?: string;
  /** Name of the bridge to become a port of. */
  readonly master?: string;
  readonly promiscuous?: boolean;
}

/** Turns VLAN filtering of an existing bridge on. */
export interface SetBridge {
  readonly kind: "set-bridge";
  readonly name: string;
  readonly vlanFiltering: true;
}

/** Changes properties of the bridge port `name`. */
export interface SetPort {
  readonly kind: "set-port";
  readonly name: string;
  /** Whether frames may leave by the port they came in by. */
  readonly hairpin: boolean;
  /** Whether it is cut off from other isolated ports. */
  readonly isolated: boolean;
}

/** Puts a bridge port into the VLANs `first` to `last`. */
export interface AddPortVlans {
  readonly kind: "add-port-vlans";
  readonly link: string;
  readonly first: number;
  readonly last: number;
  /** Whether frames pass without a tag, as at an access port, which has one VLAN. */
  readonly untagged: boolean;
}

/** Takes a bridge port out of a VLAN. */
export interface DeletePortVlan {
  readonly kind: "delete-port-vlan";
  readonly link: string;
  readonly vid: number;
}

/** Gives a link an address. If it has the address already, nothing changes. */
export interface AddAddress {
  readonly kind: "add-address";
  readonly link: string;
  readonly address: Cidr;
  /** Whether the kernel detects duplicates of an IPv6 address before it may be used (RFC 4862). */
  readonly detectDuplicate: boolean;
}

export interface DeleteAddress {
  readonly kind: "delete-address";
  readonly link: string;
  readonly address: Cidr;
}

/** Deletes an address's neighbour entry, if there is one. */
export interface DeleteNeighbour {
  readonly kind: "delete-neighbour";
  readonly link: string;
  readonly address: Address;
}

/**
 * Adds a route through a link. If the same route exists, nothing changes. If another route to the same
 * destination has the same priority, the new one goes before it in IPv4, and is left out in IPv6.
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

/**
 * Deletes a link, and with a veth its peer. One that is gone is fine, and so is one that cannot be
 * deleted, which nobody has made: `lo` or a network card.
 */
export interface DeleteLink {
  readonly kind: "delete-link";
  readonly name: string;
  /** Of the link that was made or looked at: another one may have its name by now. */
  readonly index: number;
}

/** Sets a sysctl of the namespace. One that is right already is not written, which may need no right. */
export interface SetSysctl {
  readonly kind: "set-sysctl";
  /** Its path under /proc/sys, such as "net/ipv4/ip_forward". */
  readonly key: string;
  readonly value: string;
  /** Whether things work without it: on a kernel that lacks it, or where /proc/sys is read-only. */
  readonly optional: boolean;
}

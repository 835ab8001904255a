import { addressBytes, formatAddress } from "../net/address.ts";
import type { Secret } from "../base/secret.ts";
import type { Address } from "../net/address.ts";
import { formatCidr } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { parseMac } from "../net/mac.ts";
import { addressMessage, Flag, Type } from "./codec.ts";
import { linkMessage } from "./link_codec.ts";
import type { Message } from "./codec.ts";
import { deleteFdbEntry, deleteNeighbour, setFdbEntry, setNeighbour } from "./neighbour.ts";
import type { FdbEntry, Neighbour } from "./neighbour.ts";
import { deleteRoute, setRoute } from "./route.ts";
import type { NewRoute, TableRoute } from "./route.ts";
import { createIpip } from "./ipip.ts";
import type { NewIpip } from "./ipip.ts";
import { changeVxlan, createVxlan } from "./vxlan.ts";
import type { NewVxlan } from "./vxlan.ts";
import {
  configureWireguard,
  createWireguard,
  deleteWireguardPeer,
  setWireguardPeer,
} from "./wireguard.ts";
import type { WireguardPeer } from "./wireguard.ts";

/** One change to a node's overlay network, as plain data. Links are given by index. */
export type OverlayChange =
  | { readonly kind: "create-vxlan"; readonly device: NewVxlan }
  | { readonly kind: "create-ipip"; readonly device: NewIpip }
  /** Not by netlink. */
  | { readonly kind: "create-tun"; readonly name: string }
  | {
      readonly kind: "create-wireguard";
      readonly device: { readonly name: string; readonly mtu: number };
    }
  /** By generic netlink, as all that a WireGuard device has. */
  | {
      readonly kind: "set-wireguard";
      readonly index: number;
      readonly link: string;
      readonly privateKey: Secret;
      readonly port: number;
    }
  | {
      readonly kind: "set-wireguard-peer";
      readonly index: number;
      readonly peer: WireguardPeer;
      /** Whether to begin a session at once, and not with the first packet. */
      readonly begin: boolean;
    }
  | { readonly kind: "delete-wireguard-peer"; readonly index: number; readonly publicKey: string }
  | {
      readonly kind: "change-vxlan";
      readonly index: number;
      readonly device: Pick<NewVxlan, "name" | "vni" | "parent" | "local" | "learning">;
    }
  | {
      readonly kind: "set-device";
      readonly index: number;
      /** As it is called now. */
      readonly link: string;
      readonly name?: string;
      readonly mac?: string;
      readonly mtu?: number;
      readonly up?: boolean;
    }
  | { readonly kind: "delete-device"; readonly index: number; readonly link: string }
  | {
      readonly kind: "add-device-address" | "delete-device-address";
      readonly index: number;
      readonly link: string;
      readonly address: Cidr;
    }
  | { readonly kind: "set-neighbour"; readonly index: number; readonly neighbour: Neighbour }
  | { readonly kind: "delete-neighbour"; readonly index: number; readonly address: Address }
  | { readonly kind: "set-fdb"; readonly index: number; readonly entry: FdbEntry }
  | {
      readonly kind: "delete-fdb";
      readonly index: number;
      readonly mac: string;
      readonly dst: Address | undefined;
    }
  | { readonly kind: "set-route"; readonly route: NewRoute; readonly replace: boolean }
  | { readonly kind: "delete-route"; readonly route: TableRoute };

const AF_INET = 2;
const AF_INET6 = 10;

/** A change that a request by generic netlink makes. */
export type WireguardChange = Extract<
  OverlayChange,
  { kind: "set-wireguard" | "set-wireguard-peer" | "delete-wireguard-peer" }
>;

/** A change that a request by rtnetlink makes. */
export type LinkChange = Exclude<OverlayChange, WireguardChange | { kind: "create-tun" }>;

/** How a change is made. */
export type OverlayRequest =
  | { readonly by: "rtnetlink"; readonly change: LinkChange }
  | { readonly by: "wireguard"; readonly change: WireguardChange }
  | { readonly by: "tun"; readonly change: OverlayChange & { kind: "create-tun" } };

export function requestOf(change: OverlayChange): OverlayRequest {
  switch (change.kind) {
    case "create-tun":
      return { by: "tun", change };
    case "set-wireguard":
    case "set-wireguard-peer":
    case "delete-wireguard-peer":
      return { by: "wireguard", change };
    default:
      return { by: "rtnetlink", change };
  }
}

/**
 * The requests that make a change of a WireGuard device.
 * @param family the number of its netlink family.
 */
export function encodeWireguard(family: number, change: WireguardChange): Message[] {
  const { index } = change;
  switch (change.kind) {
    case "set-wireguard":
      return [configureWireguard(family, index, change)];
    case "set-wireguard-peer": {
      const { peer, begin } = change;
      const set = setWireguardPeer(family, index, peer);
      // The kernel sends a packet, and with it begins a session, to a peer that is first kept alive.
      const keepAlive = { ...peer, keepalive: 1 };
      return begin && peer.keepalive === 0
        ? [setWireguardPeer(family, index, keepAlive), set]
        : [set];
    }
    case "delete-wireguard-peer":
      return [deleteWireguardPeer(family, index, change.publicKey)];
  }
}

/** The request by rtnetlink that makes a change. */
export function encodeOverlay(change: LinkChange): Message {
  switch (change.kind) {
    case "create-vxlan":
      return createVxlan(change.device);
    case "create-ipip":
      return createIpip(change.device);
    case "create-wireguard":
      return createWireguard(change.device);
    case "change-vxlan":
      return changeVxlan(change.index, change.device);
    case "set-device":
      return setDevice(change);
    case "delete-device":
      return linkMessage(Type.DELLINK, 0, { index: change.index, attrs: {} });
    case "add-device-address":
      return deviceAddress(Type.NEWADDR, Flag.CREATE | Flag.EXCL, change.index, change.address);
    case "delete-device-address":
      return deviceAddress(Type.DELADDR, 0, change.index, change.address);
    case "set-neighbour":
      return setNeighbour(change.index, change.neighbour);
    case "delete-neighbour":
      return deleteNeighbour(change.index, change.address);
    case "set-fdb":
      return setFdbEntry(change.index, change.entry);
    case "delete-fdb":
      return deleteFdbEntry(change.index, change.mac, change.dst);
    case "set-route":
      return setRoute(change.route, change.replace);
    case "delete-route":
      return deleteRoute(change.route);
  }
}

/** The errnos that mean a change was made already. */
export function isDone(change: OverlayChange, errno: number): boolean {
  const [ENOENT, ESRCH, EEXIST, ENODEV, EADDRNOTAVAIL] = [2, 3, 17, 19, 99];
  if (errno === 0) return true;
  switch (change.kind) {
    case "add-device-address":
      return errno === EEXIST;
    case "delete-device":
      return errno === ENODEV;
    case "delete-device-address":
      return errno === EADDRNOTAVAIL || errno === ENODEV;
    case "delete-neighbour":
    case "delete-fdb":
      return errno === ENOENT || errno === ENODEV;
    case "delete-route":
      return errno === ESRCH || errno === ENODEV;
    case "delete-wireguard-peer":
      return errno === ENODEV;
    case "create-vxlan":
    case "create-tun":
    case "create-ipip":
    case "create-wireguard":
    case "set-wireguard":
    case "set-wireguard-peer":
    case "change-vxlan":
    case "set-device":
    case "set-neighbour":
    case "set-fdb":
    case "set-route":
      return false;
  }
}

/** A change in words, to follow "Cannot". */
export function describeOverlay(change: OverlayChange): string {
  switch (change.kind) {
    case "create-vxlan": {
      const { name, vni, local, mtu, mac } = change.device;
      return `create the vxlan device ${name} (VNI ${vni}, local ${formatAddress(local)}, MTU ${mtu}, MAC ${mac})`;
    }
    case "create-ipip": {
      const { name, local, mtu } = change.device;
      return `create the ipip device ${name} (local ${formatAddress(local)}, MTU ${mtu})`;
    }
    case "create-tun":
      return `create the tun device ${change.name}`;
    case "create-wireguard":
      return `create the wireguard device ${change.device.name} (MTU ${change.device.mtu})`;
    case "set-wireguard":
      return `give ${change.link} its key and the port ${change.port}`;
    case "set-wireguard-peer":
      return `set the wireguard peer ${peerWords(change.peer)}`;
    case "delete-wireguard-peer":
      return `delete the wireguard peer ${change.publicKey}`;
    case "change-vxlan": {
      const { name, local, learning } = change.device;
      return `change ${name} to local ${formatAddress(local)}, learning ${learning ? "on" : "off"}`;
    }
    case "set-device":
      return `set ${change.link} ${wordsOf(change)}`;
    case "delete-device":
      return `delete the device ${change.link}`;
    case "add-device-address":
      return `add the address ${formatCidr(change.address)} to ${change.link}`;
    case "delete-device-address":
      return `remove the address ${formatCidr(change.address)} from ${change.link}`;
    case "set-neighbour":
      return `set the neighbour ${formatAddress(change.neighbour.address)} to ${change.neighbour.mac}`;
    case "delete-neighbour":
      return `delete the neighbour ${formatAddress(change.address)}`;
    case "set-fdb":
      return `set the forwarding entry ${change.entry.mac} to ${formatAddress(change.entry.dst)}`;
    case "delete-fdb":
      return `delete the forwarding entry ${change.mac}${change.dst === undefined ? "" : ` to ${formatAddress(change.dst)}`}`;
    case "set-route":
      return `set the ${routeWords(change.route)}`;
    case "delete-route":
      return `delete the route to ${formatCidr(change.route.dst)}`;
  }
}

function wordsOf(change: OverlayChange & { kind: "set-device" }): string {
  const words = [
    change.name === undefined ? [] : [`name ${change.name}`],
    change.mac === undefined ? [] : [`MAC ${change.mac}`],
    change.mtu === undefined ? [] : [`MTU ${change.mtu}`],
    change.up === undefined ? [] : [change.up ? "up" : "down"],
  ];
  return words.flat().join(", ");
}

function routeWords({ dst, via }: NewRoute): string {
  if (via === "blackhole") return `blackhole route ${formatCidr(dst)}`;
  const by = via.gateway === undefined ? "" : ` by ${formatAddress(via.gateway)}`;
  return `route to ${formatCidr(dst)}${by}`;
}

function peerWords({ publicKey, endpoint, allowed }: WireguardPeer): string {
  const at =
    endpoint === undefined ? "" : ` at ${formatAddress(endpoint.address)} port ${endpoint.port}`;
  return `${publicKey}${at} with ${allowed.map(formatCidr).join(" and ")}`;
}

function setDevice(change: OverlayChange & { kind: "set-device" }): Message {
  const { up } = change;
  return linkMessage(Type.SETLINK, 0, {
    index: change.index,
    ...(up === undefined ? {} : { change: { up: true }, flags: up ? { up: true } : {} }),
    attrs: {
      ...(change.name === undefined ? {} : { ifname: change.name }),
      ...(change.mac === undefined ? {} : { address: Buffer.from(parseMac(change.mac)) }),
      ...(change.mtu === undefined ? {} : { mtu: change.mtu }),
    },
  });
}

/** An address of a device. No other node can have it, so the kernel need not detect duplicates. */
function deviceAddress(type: number, flags: number, index: number, cidr: Cidr): Message {
  const address = Buffer.from(addressBytes(cidr.address));
  return addressMessage(type, flags, {
    family: cidr.address.family === 4 ? AF_INET : AF_INET6,
    prefixlen: cidr.prefix,
    scope: 0,
    index,
    attrs: {
      address,
      local: address,
      ...(cidr.address.family === 6 && type === Type.NEWADDR ? { flags: { nodad: true } } : {}),
    },
  });
}

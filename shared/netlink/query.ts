import { addressFromBytes } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";
import { formatMac } from "../net/mac.ts";
import {
  addressMessage,
  attributes,
  Flag,
  readS32,
  readString,
  readU16,
  readU32,
  Type,
  u32,
} from "./codec.ts";
import { linkMessage, readPortVlans } from "./link_codec.ts";
import type { Attributes, Message, Received } from "./codec.ts";
import type { PortVlans } from "./link_codec.ts";
import { check, understood } from "./socket.ts";
import type { NetlinkSocket, Reply } from "./socket.ts";

/** A link as the kernel describes it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** "bridge", "veth" and so on; "" for a link without a kind, such as lo. */
  readonly kind: string;
  /** "" for a link without one, such as a tun device. */
  readonly mac: string;
  /** Bytes. */
  readonly mtu: number;
  /** Administratively up. */
  readonly up: boolean;
  readonly promiscuous: boolean;
  /** Whether it is up and something is connected to it. A bridge that never had a port has one too. */
  readonly carrier: boolean;
  /**
   * Whether the kernel has seen that packets can pass (ifOperStatus "up", RFC 2863). It looks when a
   * carrier comes or goes, and takes its time.
   */
  readonly operational: boolean;
  /** Index of its bridge, or 0. */
  readonly master: number;
  /** Index of a veth's other end, or 0. */
  readonly peer: number;
  /** The kernel's number for the namespace of the other end, where that is in another one. */
  readonly peerNetns?: number;
  /** As a bridge port. */
  readonly hairpin: boolean;
  readonly isolated: boolean;
  /** As a bridge: whether it filters VLANs, and the VLAN of a new port (0 for none). */
  readonly vlanFiltering: boolean;
  readonly defaultVlan: number;
}

const IFF_UP = 1;
const IFF_PROMISC = 0x100;
const IFF_LOWER_UP = 0x1_00_00;
const OPER_UP = 6;
const ENODEV = 19;
/** Statistics make a description three times as long. */
export const RTEXT_FILTER_SKIP_STATS = 8;
const AF_UNSPEC = 0;
const AF_INET6 = 10;
const AF_BRIDGE = 7;

/** Links by name or index; undefined where there is none. @throws Failure kernel */
export function getLinks(
  socket: NetlinkSocket,
  links: readonly (string | number)[],
): (Link | undefined)[] {
  const replies = socket.transact(links.map(linkRequest));
  return links.map((link, at) => readLinkReply(replies[at], String(link)));
}

/** A query for a link by name or index. */
export function linkRequest(link: string | number): Message {
  const [index, name] = typeof link === "number" ? [{ index: link }, {}] : [{}, { ifname: link }];
  return linkMessage(Type.GETLINK, 0, {
    ...index,
    attrs: { ...name, extMask: u32(RTEXT_FILTER_SKIP_STATS) },
  });
}

/** Reads the reply to {@link linkRequest}. @throws Failure kernel */
export function readLinkReply(reply: Reply | undefined, name: string): Link | undefined {
  if (reply === undefined || reply.errno === ENODEV) return undefined;
  check(-reply.errno, `look up ${name}`);
  const [found] = reply.received;
  return found === undefined ? undefined : understood(name, () => readLink(found));
}

/** All links, or those that are ports of one. @throws Failure kernel */
export function listLinks(socket: NetlinkSocket, master?: number): Link[] {
  const request = linkMessage(Type.GETLINK, Flag.DUMP, {
    attrs: { extMask: u32(RTEXT_FILTER_SKIP_STATS), ...(master === undefined ? {} : { master }) },
  });
  const found = socket.dump(request);
  return understood("its links", () => found.map(readLink));
}

/** The VLANs of one bridge port. @throws Failure kernel */
export function listPortVlans(socket: NetlinkSocket, index: number): PortVlans[] {
  const IFLA_AF_SPEC = 26;
  /** Ranges, because a port may have 4094 VLANs. */
  const RTEXT_FILTER_BRVLAN_COMPRESSED = 4;
  const request = linkMessage(Type.GETLINK, Flag.DUMP, {
    family: AF_BRIDGE,
    attrs: { extMask: u32(RTEXT_FILTER_BRVLAN_COMPRESSED) },
  });
  const found = socket.dump(request);
  return understood("its VLANs", () => {
    const portMessages = found.filter(({ body }) => readS32(body, 4) === index);
    const specs = portMessages.map(({ body }) => attributes(body, 16).get(IFLA_AF_SPEC));
    return specs.flatMap((spec) => (spec === undefined ? [] : readPortVlans(spec)));
  });
}

/** The addresses of one link. @throws Failure kernel */
export function listAddresses(socket: NetlinkSocket, index: number): Cidr[] {
  const IFA_ADDRESS = 1;
  const IFA_LOCAL = 2;
  const found = dumpAddresses(socket, index);
  return understood("its addresses", () =>
    found.flatMap(({ body }) => {
      const attrs = attributes(body, 8);
      const raw = attrs.get(IFA_LOCAL) ?? attrs.get(IFA_ADDRESS);
      return raw === undefined
        ? []
        : [{ address: addressFromBytes(raw), prefix: body.readUInt8(1) }];
    }),
  );
}

function dumpAddresses(socket: NetlinkSocket, index: number): Received[] {
  const request = addressMessage(Type.GETADDR, Flag.DUMP, {
    family: AF_UNSPEC,
    prefixlen: 0,
    scope: 0,
    index,
    attrs: {},
  });
  // Kernels before 4.20 ignore the filter, and answer with every link's addresses.
  const found = socket.dump(request);
  return understood("its addresses", () => found.filter(({ body }) => readU32(body, 4) === index));
}

/** The indexes of links that have a global IPv6 address with a lifetime. @throws Failure kernel */
export function linksWithLifetimes(socket: NetlinkSocket): Set<number> {
  const IFA_FLAGS = 8;
  const PERMANENT = 0x80;
  const GLOBAL = 0;
  const request = addressMessage(Type.GETADDR, Flag.DUMP, {
    family: AF_INET6,
    prefixlen: 0,
    scope: 0,
    index: 0,
    attrs: {},
  });
  const found = socket.dump(request);
  return understood("its addresses", () => {
    const dynamic = found.filter(({ body }) => {
      const flags = attributes(body, 8).get(IFA_FLAGS);
      const bits = flags === undefined ? body.readUInt8(2) : readU32(flags, 0);
      return body.readUInt8(3) === GLOBAL && (bits & PERMANENT) === 0;
    });
    return new Set(dynamic.map(({ body }) => readU32(body, 4)));
  });
}

/**
 * The state of duplicate address detection for a link's addresses: under way, or a duplicate was found.
 * @throws Failure kernel
 */
export function duplicateDetection(
  socket: NetlinkSocket,
  index: number,
): "none" | "running" | "failed" {
  const IFA_FLAGS = 8;
  const TENTATIVE = 0x40;
  const DADFAILED = 0x08;
  let running = false;
  for (const { body } of dumpAddresses(socket, index)) {
    const flags = attributes(body, 8).get(IFA_FLAGS);
    const bits = flags === undefined ? body.readUInt8(2) : readU32(flags, 0);
    if ((bits & DADFAILED) !== 0) return "failed";
    if ((bits & TENTATIVE) !== 0) running = true;
  }
  return running ? "running" : "none";
}

/** Reads a description of a link. */
export function readLink({ body }: Received): Link {
  const IFLA = {
    ...{ address: 1, name: 3, mtu: 4, link: 5, master: 10, operstate: 16, linkinfo: 18 },
    linkNetns: 37,
  };
  const INFO = { kind: 1, data: 2, slaveData: 5 };
  const BRPORT = { mode: 4, isolated: 33 };
  const BR = { vlanFiltering: 7, defaultVlan: 39 };
  const attrs = attributes(body, 16);
  const number = (type: number): number => {
    const data = attrs.get(type);
    return data === undefined ? 0 : readU32(data, 0);
  };
  const linkinfo = attrs.get(IFLA.linkinfo);
  const info = nestedIn(linkinfo);
  const kind = readString(info?.get(INFO.kind) ?? Buffer.alloc(0));
  const port = nestedIn(info?.get(INFO.slaveData));
  const data = kind === "bridge" ? nestedIn(info?.get(INFO.data)) : undefined;
  const defaultVlan = data?.get(BR.defaultVlan);
  const flags = readU32(body, 8);
  const peerNetns = attrs.get(IFLA.linkNetns);
  const address = attrs.get(IFLA.address);
  return {
    index: readS32(body, 4),
    name: readString(attrs.get(IFLA.name) ?? Buffer.alloc(0)),
    kind,
    // A tunnel's is an IP address, or none.
    mac: address?.length === 6 ? formatMac(address) : "",
    mtu: number(IFLA.mtu),
    up: (flags & IFF_UP) !== 0,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    carrier: (flags & IFF_LOWER_UP) !== 0,
    operational: attrs.get(IFLA.operstate)?.[0] === OPER_UP,
    master: number(IFLA.master),
    peer: number(IFLA.link),
    ...(peerNetns === undefined ? {} : { peerNetns: readS32(peerNetns, 0) }),
    hairpin: port?.get(BRPORT.mode)?.[0] === 1,
    isolated: port?.get(BRPORT.isolated)?.[0] === 1,
    vlanFiltering: data?.get(BR.vlanFiltering)?.[0] === 1,
    defaultVlan: defaultVlan === undefined ? 0 : readU16(defaultVlan, 0),
  };
}

function nestedIn(data: Buffer | undefined): Attributes | undefined {
  return data === undefined ? undefined : attributes(data, 0);
}

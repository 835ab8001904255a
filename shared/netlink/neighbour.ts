import { addressBytes, addressFromBytes } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import { formatMac, parseMac } from "../net/mac.ts";
import { attributes, Flag, neighbourMessage, readS32, readU16, Type, u32 } from "./codec.ts";
import type { Attributes, Message, NeighbourParts, Received } from "./codec.ts";
import type { NetlinkSocket } from "./socket.ts";

/**
 * The neighbour table (which MAC an address has on a link), and the forwarding database of a vxlan
 * device (which address a MAC is behind); linux/neighbour.h.
 */
const AF_INET = 2;
const AF_INET6 = 10;
const AF_BRIDGE = 7;
const NTF_SELF = 2;
const NUD_PERMANENT = 0x80;
const NDA_DST = 1;
const NDA_LLADDR = 2;
/** Bytes of struct ndmsg. */
const NDMSG = 12;

/** Which MAC an address has on a link. */
export interface Neighbour {
  readonly address: Address;
  readonly mac: string;
}

/** An entry of the neighbour table. */
export interface NeighbourEntry {
  readonly address: Address;
  /** Undefined where it is not known. */
  readonly mac: string | undefined;
  /** Whether it stays until it is deleted. */
  readonly permanent: boolean;
}

/** Which address a MAC is behind, for a vxlan device. */
export interface FdbEntry {
  readonly mac: string;
  readonly dst: Address;
}

/** An entry of a forwarding database as the kernel has it. */
export interface ListedFdbEntry {
  readonly mac: string;
  /** Undefined for an entry of the device itself. */
  readonly dst: Address | undefined;
  readonly permanent: boolean;
}

/** Sets the MAC of an address permanently, whatever was known before. */
export function setNeighbour(ifindex: number, { address, mac }: Neighbour): Message {
  return neighbourMessage(Type.NEWNEIGH, Flag.CREATE | Flag.REPLACE, {
    family: familyNumber(address.family),
    ifindex,
    state: { permanent: true },
    attrs: { dst: rawAddress(address), lladdr: Buffer.from(parseMac(mac)) },
  });
}

export function deleteNeighbour(ifindex: number, address: Address): Message {
  return neighbourMessage(Type.DELNEIGH, 0, {
    family: familyNumber(address.family),
    ifindex,
    attrs: { dst: rawAddress(address) },
  });
}

/** Sets permanently which address a MAC is behind, in place of any other. */
export function setFdbEntry(ifindex: number, { mac, dst }: FdbEntry): Message {
  return neighbourMessage(Type.NEWNEIGH, Flag.CREATE | Flag.REPLACE, {
    ...ofBridge(ifindex),
    attrs: { dst: rawAddress(dst), lladdr: Buffer.from(parseMac(mac)) },
  });
}

/** Deletes the forwarding entries of a MAC: the one to an address, or all. */
export function deleteFdbEntry(ifindex: number, mac: string, dst?: Address): Message {
  return neighbourMessage(Type.DELNEIGH, 0, {
    ...ofBridge(ifindex),
    attrs: {
      ...(dst === undefined ? {} : { dst: rawAddress(dst) }),
      lladdr: Buffer.from(parseMac(mac)),
    },
  });
}

function ofBridge(ifindex: number): Omit<NeighbourParts, "attrs"> {
  return { family: AF_BRIDGE, ifindex, state: { permanent: true }, flags: { self: true } };
}

/** The neighbours of one link and family. @throws Failure kernel */
export function listNeighbours(
  socket: NetlinkSocket,
  family: Family,
  ifindex: number,
): NeighbourEntry[] {
  return socket.list(neighbourDump(family, ifindex), (received) =>
    linkOf(received) === ifindex ? readNeighbour(received) : undefined,
  );
}

/** The forwarding database of one vxlan device. @throws Failure kernel */
export function listFdb(socket: NetlinkSocket, ifindex: number): ListedFdbEntry[] {
  return socket.list(fdbDump(ifindex), (received) =>
    linkOf(received) === ifindex ? readFdbEntry(received) : undefined,
  );
}

/** The request for the neighbours of one link and family. */
export function neighbourDump(family: Family, ifindex: number): Message {
  return dumpOf(familyNumber(family), ifindex);
}

/** The request for the forwarding database of one vxlan device. */
export function fdbDump(ifindex: number): Message {
  return dumpOf(AF_BRIDGE, ifindex);
}

/** The index of the link that a message about a neighbour is of. */
export function linkOf({ body }: Received): number {
  return readS32(body, 4);
}

/** Whether a message about a neighbour is of a forwarding database. */
export function isFdb({ body }: Received): boolean {
  return body.readUInt8(0) === AF_BRIDGE;
}

/** Reads an entry of the neighbour table, of either family; undefined for anything else. */
export function readNeighbour({ body }: Received): NeighbourEntry | undefined {
  const family = body.readUInt8(0);
  const attrs = attributes(body, NDMSG);
  const dst = attrs.get(NDA_DST);
  if ((family !== AF_INET && family !== AF_INET6) || dst === undefined) return undefined;
  return { address: addressFromBytes(dst), mac: macOf(attrs), permanent: isPermanent(body) };
}

/** Reads an entry of a device's own forwarding database; undefined for a bridge's of its ports. */
export function readFdbEntry({ body }: Received): ListedFdbEntry | undefined {
  const attrs = attributes(body, NDMSG);
  const mac = macOf(attrs);
  if (mac === undefined || (body.readUInt8(10) & NTF_SELF) === 0) return undefined;
  const dst = attrs.get(NDA_DST);
  return {
    mac,
    dst: dst === undefined ? undefined : addressFromBytes(dst),
    permanent: isPermanent(body),
  };
}

function macOf(attrs: Attributes): string | undefined {
  const lladdr = attrs.get(NDA_LLADDR);
  return lladdr?.length === 6 ? formatMac(lladdr) : undefined;
}

function isPermanent(body: Buffer): boolean {
  return (readU16(body, 8) & NUD_PERMANENT) !== 0;
}

function dumpOf(family: number, ifindex: number): Message {
  return neighbourMessage(Type.GETNEIGH, Flag.DUMP, {
    family,
    ifindex: 0,
    attrs: { ifindex: u32(ifindex) },
  });
}

function familyNumber(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6;
}

function rawAddress(address: Address): Buffer {
  return Buffer.from(addressBytes(address));
}

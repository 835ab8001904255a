import type {
  AddressAttrs,
  NeighborAttrs,
  NeighborFlags,
  NeighborState,
  RouteAttrs,
} from "netlink/dist/rt/gen_structs.js";
import {
  formatAddressMessage,
  formatNeighborMessage,
  formatRouteMessage,
} from "netlink/dist/rt/structs.js";
import {
  AttrStream,
  formatHeader,
  HEADER_LENGTH,
  parseAttributes,
  parseHeader,
} from "netlink/dist/structs.js";
import type { StreamData } from "netlink/dist/structs.js";

/**
 * rtnetlink's wire format, with the `netlink` package's codecs, which only this file and link_codec.ts
 * import. Messages are made with its rtnetlink codecs. Replies are read attribute by attribute with its
 * generic codec, because its typed parsers refuse a whole message if a newer kernel has extended one
 * field.
 */

/** Message types (linux/rtnetlink.h). */
export const Type = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  SETLINK: 19,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
  GETRULE: 34,
} as const;

/** Header flags (linux/netlink.h). */
export const Flag = {
  REQUEST: 1,
  MULTI: 2,
  ACK: 4,
  DUMP_INTR: 16,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
} as const;

/** A message without the header fields that the socket fills in. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
}

/** A received message: its header's fields and its payload. */
export interface Received {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly body: Buffer;
}

/** What one of the package's codecs writes. */
export function bytes(data: StreamData): Buffer {
  const out = new AttrStream();
  out.emit(data);
  return Buffer.concat(out.bufs);
}

/** Bytes of a message on the wire, padding included. */
export function frame(message: Message, seq: number): Buffer {
  const length = HEADER_LENGTH + message.body.length;
  const header = formatHeader({ length, type: message.type, flags: message.flags, seq, port: 0 });
  return Buffer.concat([header, message.body], (length + 3) & ~3);
}

/** Splits a datagram into messages. Throws RangeError if it is cut short. */
export function unframe(datagram: Buffer): Received[] {
  const received: Received[] = [];
  for (let rest = datagram; rest.length >= HEADER_LENGTH; ) {
    const { length, type, flags, seq } = parseHeader(rest).x;
    if (length < HEADER_LENGTH || length > rest.length) {
      throw new RangeError(
        `a netlink message of ${String(length)} bytes in ${String(rest.length)}`,
      );
    }
    received.push({ type, flags, seq, body: rest.subarray(HEADER_LENGTH, length) });
    rest = rest.subarray(Math.min((length + 3) & ~3, rest.length));
  }
  return received;
}

/** All types and flags of a datagram's messages, without reading their contents. */
export function outline(datagram: Buffer): { types: Set<number>; flags: number } {
  const types = new Set<number>();
  let flags = 0;
  for (let at = 0; at + HEADER_LENGTH <= datagram.length; ) {
    types.add(readU16(datagram, at + 4));
    flags |= readU16(datagram, at + 6);
    at += Math.max((readU32(datagram, at) + 3) & ~3, HEADER_LENGTH);
  }
  return { types, flags };
}

/** The attributes of a message, by type. */
export interface Attributes {
  keys(): Iterable<number>;
  has(type: number): boolean;
  /** The data of the last one of that type. */
  get(type: number): Buffer | undefined;
}

/** A u16 without its two flags (NLA_TYPE_MASK). */
const typeMask = 0x3fff;
/** NLA_F_NESTED. */
const nestedFlag = 0x8000;
const attributeHeaderBytes = 4;

/**
 * The attributes of a message after its fixed header of `skip` bytes. A link has some seventy, of which few are wanted,
 * so they are only looked for, and none is made an object before it is asked for.
 * @throws RangeError for what is no list of attributes.
 */
export function attributes(body: Buffer, skip: number): Attributes {
  /** Where each begins. */
  const places = new Map<number, number>();
  for (let at = skip; at < body.length; ) {
    const left = body.length - at;
    const length = left < attributeHeaderBytes ? 0 : readU16(body, at);
    if (length < attributeHeaderBytes || length > left) {
      throw new RangeError(`an attribute of ${String(length)} bytes in ${String(left)}`);
    }
    places.set(readU16(body, at + 2) & typeMask, at);
    at += (length + 3) & ~3;
  }
  return {
    keys: () => places.keys(),
    has: (type) => places.has(type),
    get(type) {
      const at = places.get(type);
      return at === undefined
        ? undefined
        : body.subarray(at + attributeHeaderBytes, at + readU16(body, at));
    },
  };
}

/** The data of each attribute of a list, of any type. */
export function elements(list: Buffer | undefined): Buffer[] {
  const found: Buffer[] = [];
  if (list !== undefined) parseAttributes(list, ({ data }) => found.push(data));
  return found;
}

export interface NeighbourParts {
  readonly family: number;
  readonly ifindex: number;
  readonly state?: NeighborState;
  readonly flags?: NeighborFlags;
  readonly attrs: NeighborAttrs;
}

/** A message about a neighbour of a link, or an entry of a link's forwarding database. */
export function neighbourMessage(type: number, flags: number, parts: NeighbourParts): Message {
  const { attrs, ...data } = parts;
  return {
    type,
    flags,
    body: bytes((out) => {
      formatNeighborMessage({ kind: "neighbor", data, attrs }, out);
    }),
  };
}

export interface AddressParts {
  readonly family: number;
  readonly prefixlen: number;
  readonly scope: number;
  readonly index: number;
  readonly attrs: AddressAttrs;
}

export function addressMessage(type: number, flags: number, parts: AddressParts): Message {
  const { attrs, ...data } = parts;
  return {
    type,
    flags,
    body: bytes((out) => {
      formatAddressMessage({ kind: "address", data, attrs }, out);
    }),
  };
}

export interface RouteParts {
  readonly family: number;
  readonly dstLen: number;
  readonly table: number;
  readonly protocol: number;
  readonly scope: number;
  readonly type: number;
  /** RTM_F_ and RTNH_F_ flags. */
  readonly routeFlags?: number;
  readonly attrs: RouteAttrs;
}

export function routeMessage(type: number, flags: number, parts: RouteParts): Message {
  const { attrs, routeFlags, ...data } = parts;
  const all = routeFlags === undefined ? data : { ...data, flags: { __unknown: routeFlags } };
  return {
    type,
    flags,
    body: bytes((out) => {
      formatRouteMessage({ kind: "route", data: all, attrs }, out);
    }),
  };
}

/** One attribute with its padding. With `isNested` its data are attributes. */
export function nested(type: number, data: Uint8Array, isNested = true): Buffer {
  const length = attributeHeaderBytes + data.length;
  if (length > 0xffff) throw new RangeError(`an attribute of ${String(length)} bytes`);
  // A rule has fifty, and the package's codec makes four objects of each.
  const made = Buffer.alloc((length + 3) & ~3);
  made[low] = length;
  made[high] = length >> 8;
  made[low + 2] = type;
  made[high + 2] = (isNested ? type | nestedFlag : type) >> 8;
  made.set(data, attributeHeaderBytes);
  return made;
}

/** A u32 as an attribute's data. */
export function u32(value: number): Buffer {
  const data = Buffer.alloc(4);
  new DataView(data.buffer, data.byteOffset).setUint32(0, value, littleEndian);
  return data;
}

/** A u16 as an attribute's data. */
export function u16(value: number): Buffer {
  const data = Buffer.alloc(2);
  new DataView(data.buffer, data.byteOffset).setUint16(0, value, littleEndian);
  return data;
}

/** A u16 at an offset, in the host's order. */
export function readU16(data: Buffer, at: number): number {
  return littleEndian ? data.readUInt16LE(at) : data.readUInt16BE(at);
}

/** A u32 at an offset, in the host's order. */
export function readU32(data: Buffer, at: number): number {
  return littleEndian ? data.readUInt32LE(at) : data.readUInt32BE(at);
}

/** An s32 at an offset, in the host's order. */
export function readS32(data: Buffer, at: number): number {
  return littleEndian ? data.readInt32LE(at) : data.readInt32BE(at);
}

/** A NUL-terminated string. */
export function readString(data: Buffer): string {
  const end = data.indexOf(0);
  return data.toString("utf8", 0, end === -1 ? data.length : end);
}

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
/** Where a u16 has which byte. */
const low = littleEndian ? 0 : 1;
const high = 1 - low;

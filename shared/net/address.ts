import { NetError } from "./error.ts";
import { formatIPv4, parseIPv4 } from "./ipv4.ts";
import { formatIPv6, parseIPv6 } from "./ipv6.ts";

export type Family = 4 | 6;

export interface Address {
  readonly family: Family;
  /** The address as an integer, its first byte the most significant. */
  readonly value: bigint;
}

/** How many bits the addresses of a family have. */
export function widthOf(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/**
 * Reads an IP address and nothing else: no white space, no zone, no prefix length, no leading zeros
 * in IPv4. An IPv4-mapped address (::ffff:192.0.2.1) gives the IPv4 address.
 * @throws NetError
 */
export function parseAddress(text: string): Address {
  if (!text.includes(":")) {
    const value = parseIPv4(text);
    if (value !== undefined) return { family: 4, value: BigInt(value) };
  } else {
    const value = parseIPv6(text);
    if (value !== undefined) return unmapped(value);
  }
  throw new NetError("must be an IP address");
}

/** The address that a text is, or undefined if it is none. */
export function addressIfAny(text: string | undefined): Address | undefined {
  try {
    return text === undefined ? undefined : parseAddress(text);
  } catch (error) {
    if (error instanceof NetError) return undefined;
    throw error;
  }
}

/** Writes an address: IPv4 as four octets, IPv6 in the form of RFC 5952. */
export function formatAddress({ family, value }: Address): string {
  return family === 4 ? formatIPv4(Number(value)) : formatIPv6(value);
}

/** The 4 or 16 bytes of an address, in network order. */
export function addressBytes({ family, value }: Address): Uint8Array {
  const bytes = new Uint8Array(widthOf(family) / 8);
  let rest = value;
  for (let at = bytes.length - 1; at >= 0; at--) {
    bytes[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/**
 * The address of 4 or 16 bytes in network order. 16 bytes are always an IPv6 address, as for the
 * kernel, even if they hold an IPv4-mapped one.
 * @throws NetError for any other number of bytes.
 */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length !== 4 && bytes.length !== 16) {
    throw new NetError(`${bytes.length} bytes are not an IP address`);
  }
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

/** Whether two addresses are the same. */
export function sameAddress(a: Address, b: Address): boolean {
  return a.family === b.family && a.value === b.value;
}

/** Whether both are the same address, or neither is one. */
export function sameAddressOrNone(a: Address | undefined, b: Address | undefined): boolean {
  return a === undefined || b === undefined ? a === b : sameAddress(a, b);
}

/** Orders addresses: IPv4 first, then by value. */
export function compareAddresses(a: Address, b: Address): -1 | 0 | 1 {
  if (a.family !== b.family) return a.family < b.family ? -1 : 1;
  if (a.value === b.value) return 0;
  return a.value < b.value ? -1 : 1;
}

/**
 * The address that is `by` addresses after another, or before it if `by` is negative.
 * @throws NetError if the family has no such address.
 */
export function offsetAddress(address: Address, by: bigint): Address {
  const value = address.value + by;
  if (value >= 0n && value >> BigInt(widthOf(address.family)) === 0n) {
    return { family: address.family, value };
  }
  throw new NetError(
    `no IPv${address.family} address is ${by < 0n ? -by : by} ${by < 0n ? "before" : "after"} ${formatAddress(address)}`,
  );
}

/** Whether an address is a loopback address: 127.0.0.0/8 or ::1. */
export function isLoopback({ family, value }: Address): boolean {
  return family === 4 ? value >> 24n === 127n : value === 1n;
}

function unmapped(value: bigint): Address {
  return value >> 32n === 0xffffn
    ? { family: 4, value: value & 0xffff_ffffn }
    : { family: 6, value };
}

/** Whether it is an IPv6 address of a link alone: fe80::/10. */
export function isLinkLocal({ family, value }: Address): boolean {
  return family === 6 && value >> 118n === 0x3fan;
}

/** Whether it is the unspecified address: 0.0.0.0 or ::. */
export function isUnspecified({ value }: Address): boolean {
  return value === 0n;
}

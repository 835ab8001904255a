import type IpCidr from "ip-cidr";

import { parseIPv4 } from "./ipv4.ts";

/**
 * IPv6 addresses as text, read and written by the package ip-cidr.
 *
 * It takes a millisecond to load, a sixth of a call. So the first IPv6 address loads it, and a
 * cluster without IPv6 never does. `require` is the one way to load on demand without a promise; the
 * bundlers turn it into a function call inside the executable.
 */
function library(): typeof IpCidr {
  // oxlint-disable-next-line typescript/no-require-imports -- see above
  return (require("ip-cidr") as { default: typeof IpCidr }).default;
}

/** How many addresses are remembered: a tool meets each of a pod's a dozen times in a row. */
const knownMax = 64;
const knownValues = new Map<string, bigint | undefined>();
const knownTexts = new Map<bigint, string>();

/**
 * Reads an IPv6 address (RFC 4291, section 2.2).
 * @returns its integer, or undefined if the text is anything else, such as an address with a zone.
 */
export function parseIPv6(text: string): bigint | undefined {
  if (knownValues.has(text)) return knownValues.get(text);
  return remembered(knownValues, text, valueOf(text));
}

/** Writes an address that is given as an integer below 2¹²⁸, in the form of RFC 5952. */
export function formatIPv6(value: bigint): string {
  return knownTexts.get(value) ?? remembered(knownTexts, value, textOf(value));
}

function remembered<Key, Value>(known: Map<Key, Value>, key: Key, value: Value): Value {
  if (known.size >= knownMax) known.clear();
  known.set(key, value);
  return value;
}

function valueOf(text: string): bigint | undefined {
  const hex = withoutDots(text);
  // The package also accepts a prefix length and a zone, which are not part of an address.
  if (hex === undefined || hex.length > 39 || !/^[0-9a-f:]+$/i.test(hex)) return undefined;
  const ipCidr = library();
  try {
    const groups = ipCidr.createAddress(hex).parsedAddress;
    return BigInt(`0x${groups.map((group) => group.padStart(4, "0")).join("")}`);
  } catch {
    return undefined;
  }
}

function textOf(value: bigint): string {
  const digits = value.toString(16).padStart(32, "0");
  const groups: string[] = [];
  for (let at = 0; at < 32; at += 4) groups.push(digits.slice(at, at + 4));
  return library().createAddress(groups.join(":")).correctForm();
}

/**
 * Turns an IPv4 tail (64:ff9b::192.0.2.1) into two groups. The package ignores whatever comes before
 * such a tail.
 */
function withoutDots(text: string): string | undefined {
  if (!text.includes(".")) return text;
  const tail = text.lastIndexOf(":") + 1;
  const value = parseIPv4(text.slice(tail));
  if (value === undefined) return undefined;
  return `${text.slice(0, tail)}${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}`;
}

/**
 * IPv4 addresses as text. Written by hand: nearly every call reads a few, and the package behind
 * ipv6.ts takes a millisecond to load.
 */

const zero = 0x30;
const dot = 0x2e;

/**
 * Reads four decimal octets with dots between them.
 * @returns the address as a number, or undefined if the text is anything else: fewer octets, a
 *   leading zero (some programs read that as octal), a sign, white space.
 */
export function parseIPv4(text: string): number | undefined {
  let value = 0;
  let octet = -1;
  let octets = 1;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === dot) {
      if (octet < 0 || octets === 4) return undefined;
      value = value * 256 + octet;
      octet = -1;
      octets++;
      continue;
    }
    const digit = code - zero;
    if (digit < 0 || digit > 9 || octet === 0) return undefined;
    octet = octet < 0 ? digit : octet * 10 + digit;
    if (octet > 255) return undefined;
  }
  return octet < 0 || octets < 4 ? undefined : value * 256 + octet;
}

/** Writes an address that is given as a number below 2³². */
export function formatIPv4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

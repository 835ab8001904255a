import { addressBytes, addressIfAny, widthOf } from "../net/address.ts";
import type { Family } from "../net/address.ts";
import { compare, bitwise, Header, payload } from "../netlink/nf_expression.ts";

/** What the rules of both firewalls have in common, as expressions of nf_tables. Pure. */

/** The words of a rule, quotes and backslashes read; undefined for one with an open quote. */
export function wordsOf(rule: string): string[] | undefined {
  const words: string[] = [];
  const word = /\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))(?=\s|$)/guy;
  for (let at = 0; at < rule.length; ) {
    word.lastIndex = at;
    const found = word.exec(rule);
    if (found === null) return rule.slice(at).trim() === "" ? words : undefined;
    const [all, inQuotes, plain = ""] = found;
    words.push(inQuotes === undefined ? plain : inQuotes.replaceAll(/\\(.)/g, "$1"));
    at += all.length;
  }
  return words;
}

export const protocolNumbers: ReadonlyMap<string, number> = new Map([
  ["tcp", 6],
  ["udp", 17],
  ["sctp", 132],
]);

/** Bytes from the beginning of the network header. */
const addressOffsets = { 4: { source: 12, destination: 16 }, 6: { source: 8, destination: 24 } };

/** Goes on for packets from or to an address, or a subnet; undefined for what is none. */
export function matchAddress(
  text: string,
  end: "source" | "destination",
  family: Family,
  isInverted: boolean,
): Buffer[] | undefined {
  const [addressText, prefixText, ...rest] = text.split("/");
  const address = addressIfAny(addressText);
  const width = widthOf(family);
  const prefix = prefixText === undefined ? width : numberIn(prefixText, width);
  if (address?.family !== family || prefix === undefined || prefix === 0 || rest.length > 0) {
    return undefined;
  }
  const bytes = Buffer.from(addressBytes(address));
  const mask = maskOf(prefix, width);
  if (bytes.some((byte, at) => (byte & ~(mask[at] ?? 0)) !== 0)) return undefined;
  const offset = addressOffsets[family][end];
  // Of whole bytes, nothing needs to be masked.
  if (prefix % 8 === 0) {
    const length = prefix / 8;
    return [
      payload(Header.network, offset, length),
      compare(bytes.subarray(0, length), isInverted),
    ];
  }
  return [
    payload(Header.network, offset, width / 8),
    bitwise(mask, Buffer.alloc(width / 8)),
    compare(bytes, isInverted),
  ];
}

function maskOf(prefix: number, width: number): Buffer {
  const bits = (1n << BigInt(prefix)) - 1n;
  const hex = (bits << BigInt(width - prefix)).toString(16).padStart(width / 4, "0");
  return Buffer.from(hex, "hex");
}

/** Loads the port that a packet is sent to. */
export function loadDestinationPort(): Buffer {
  return payload(Header.transport, 2, 2);
}

/** Goes on for packets to a port. */
export function matchDestinationPort(port: number): Buffer[] {
  return [loadDestinationPort(), compare(portBytes(port))];
}

/** A port in network order. */
export function portBytes(port: number): Buffer {
  return Buffer.of(port >> 8, port & 0xff);
}

/** A port in decimal digits. */
export function portIn(text: string | undefined): number | undefined {
  return text === undefined ? undefined : numberIn(text, 65_535);
}

/** A number of 0 to a limit in decimal digits. */
function numberIn(text: string, limit: number): number | undefined {
  const number = /^(?:0|[1-9]\d{0,4})$/.test(text) ? Number(text) : Infinity;
  return number <= limit ? number : undefined;
}

/** A 32-bit number as 0x…. */
export function hexNumberIn(text: string | undefined): number | undefined {
  return text !== undefined && /^0x[0-9a-f]{1,8}$/.test(text) ? Number(text) : undefined;
}

/** An address and a port: 10.244.1.2:80 or [fd00::2]:80. */
export function endpointIn(
  text: string | undefined,
  family: Family,
): { address: Buffer; port: number } | undefined {
  const [, in6, in4, portText] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text ?? "") ?? [];
  const address = addressIfAny(in6 ?? in4);
  const port = portIn(portText);
  if (address?.family !== family || port === undefined) return undefined;
  return { address: Buffer.from(addressBytes(address)), port };
}

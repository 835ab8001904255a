/** IPv4 packets (RFC 791) and the errors about them (RFC 792), in place in a buffer. */

/** Bytes of a header without options. */
const ipHeader = 20;
const icmpHeader = 8;
/** Bytes of the payload that an error repeats. */
const repeated = 8;
const [ICMP, TTL] = [1, 64];

/** What is wrong with a packet: type and code of ICMP. */
export const IcmpError = { unreachable: [3, 0], timeExceeded: [11, 0] } as const;
type Kind = (typeof IcmpError)[keyof typeof IcmpError];

/** Whether the bytes are a whole IPv4 packet. */
export function isPacket(bytes: Buffer, at: number, length: number): boolean {
  const first = bytes[at] ?? 0;
  return (
    length >= ipHeader &&
    first >> 4 === 4 &&
    (first & 15) * 4 >= ipHeader &&
    (first & 15) * 4 <= length &&
    read16(bytes, at + 2) <= length &&
    read16(bytes, at + 2) >= (first & 15) * 4
  );
}

export function sourceOf(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at + 12);
}

export function destinationOf(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at + 16);
}

/** Lowers the time to live. @returns false if the packet has none left. */
export function lowerTtl(bytes: Buffer, at: number): boolean {
  const ttl = bytes[at + 8] ?? 0;
  if (ttl <= 1) return false;
  bytes[at + 8] = ttl - 1;
  // RFC 1624: the sum is that of one word, which is 256 lower.
  const sum = read16(bytes, at + 10) + 0x100;
  write16(bytes, at + 10, (sum & 0xffff) + (sum >> 16));
  return true;
}

/**
 * Writes the error about a packet.
 * @param from the address that it comes from.
 * @returns its length; 0 if there must be none about this packet (RFC 1122, 3.2.2).
 */
export function writeError(
  bytes: Buffer,
  at: number,
  [type, code]: Kind,
  from: number,
  into: Buffer,
): number {
  const header = ((bytes[at] ?? 0) & 15) * 4;
  const length = read16(bytes, at + 2);
  const isLaterFragment = (read16(bytes, at + 6) & 0x1fff) !== 0;
  if (isLaterFragment || isIcmpError(bytes, at, header, length)) return 0;
  if (!isOneHost(sourceOf(bytes, at)) || !isOneHost(destinationOf(bytes, at))) return 0;
  const copied = Math.min(length, header + repeated);
  const total = ipHeader + icmpHeader + copied;
  into.fill(0, 0, total);
  into[0] = 0x45;
  write16(into, 2, total);
  into[8] = TTL;
  into[9] = ICMP;
  into.writeUInt32BE(from, 12);
  into.writeUInt32BE(sourceOf(bytes, at), 16);
  write16(into, 10, checksum(into, 0, ipHeader));
  into[ipHeader] = type;
  into[ipHeader + 1] = code;
  bytes.copy(into, ipHeader + icmpHeader, at, at + copied);
  write16(into, ipHeader + 2, checksum(into, ipHeader, total));
  return total;
}

/** The Internet checksum (RFC 1071) of bytes whose checksum field is 0. */
export function checksum(bytes: Buffer, from: number, to: number): number {
  let sum = 0;
  for (let at = from; at < to; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (at + 1 < to ? (bytes[at + 1] ?? 0) : 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** Everything of ICMP but a request to echo, which traceroute sends. */
function isIcmpError(bytes: Buffer, at: number, header: number, length: number): boolean {
  return bytes[at + 9] === ICMP && (length <= header || bytes[at + header] !== 8);
}

/** Neither 0.0.0.0/8, nor multicast or broadcast, nor this host itself. */
function isOneHost(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

function read16(bytes: Buffer, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function write16(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 255;
}

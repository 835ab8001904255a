import { closeSync, openSync, readSync } from "node:fs";

import { formatMac } from "../net/mac.ts";

/**
 * Random bytes from the kernel. To load either runtime's crypto module takes longer than all netlink
 * requests of a call.
 */
export function randomBytes(count: number): Buffer {
  if (pool.length < count) pool = fill(Math.max(count, poolBytes));
  const bytes = pool.subarray(0, count);
  pool = pool.subarray(count);
  return bytes;
}

/** Bytes that are read at once, enough for the names and MACs of one call. */
const poolBytes = 48;
let pool = Buffer.alloc(0);

function fill(count: number): Buffer<ArrayBuffer> {
  const bytes = Buffer.alloc(count);
  const fd = openSync("/dev/urandom", "r");
  try {
    for (let at = 0; at < count; ) at += readSync(fd, bytes, at, count - at, null);
  } finally {
    closeSync(fd);
  }
  return bytes;
}

/** A random MAC: locally administered, one station's (IEEE 802), and lower than any {@link randomPortMac}. */
export function randomMac(): string {
  return macWith((first) => (first & 0x7c) | 0x02);
}

/**
 * A random MAC for a bridge's port. A bridge without a MAC of its own takes the lowest of its ports', so
 * this is one of the highest there are.
 */
export function randomPortMac(): string {
  return macWith(() => 0xfe);
}

/** @param firstByte makes the first byte of a random one. */
function macWith(firstByte: (random: number) => number): string {
  const bytes = randomBytes(6);
  bytes[0] = firstByte(bytes[0] ?? 0);
  return formatMac(bytes);
}

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

/** A random MAC: locally administered, unicast, as the kernel draws them. */
export function randomMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return formatMac(bytes);
}

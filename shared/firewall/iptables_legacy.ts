import { closeSync } from "node:fs";

import { readIfPresent } from "../files/read_file.ts";
import type { Family } from "../net/address.ts";
import { readU16, readU32 } from "../netlink/codec.ts";
import type { Sys } from "../runtime/sys.ts";

/**
 * What iptables-legacy has, read from the kernel as its library does
 * (linux/netfilter_ipv4/ip_tables.h, and ip6_tables.h with the same numbers): a whole table at a
 * time, without a process and without the xtables lock.
 */
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
export const IPPROTO_RAW = 255;
export const SOL_IP = 0;
export const SOL_IPV6 = 41;
export const SO_GET_INFO = 64;
export const SO_GET_ENTRIES = 65;
/** struct ipt_getinfo: the table's name, then 13 numbers, the last of them its size in bytes. */
export const INFO = 84;
const INFO_SIZE = 80;
/** struct ipt_get_entries: name and size, padded to where the first entry is aligned. */
export const ENTRIES = 40;
const ENTRIES_SIZE = 32;
/** How often the table may change between asking for its size and for what is in it. */
const tries = 10;

/** Whether a table is in use. To ask the kernel for one that is not would make it. */
export function hasLegacyTable(family: Family, table: string): boolean {
  const names = readIfPresent(`/proc/net/${family === 4 ? "ip" : "ip6"}_tables_names`);
  return names?.split("\n").includes(table) === true;
}

/** Whether a table is in use and has a chain of that name. */
export function hasLegacyChain(sys: Sys, family: Family, table: string, chain: string): boolean {
  // A user-defined chain begins with an entry that has its name.
  return legacyTable(sys, family, table)?.includes(`${chain}\0`) === true;
}

/** The entries of a table (struct ipt_entry), or undefined if it is not in use. */
export function legacyTable(sys: Sys, family: Family, table: string): Buffer | undefined {
  return hasLegacyTable(family, table) ? readTable(sys, family, table) : undefined;
}

/**
 * What the rules of some chains of a table are, in order, as bytes, and which rules of others lead
 * there: the same for the same rules, however many packets they have seen.
 */
export function legacyContent(
  sys: Sys,
  family: Family,
  table: string,
  chain: string,
): string | undefined {
  if (!hasLegacyTable(family, table)) return undefined;
  const bytes = readTable(sys, family, table);
  return bytes === undefined ? undefined : contentOf(bytes.subarray(ENTRIES), family, chain);
}

/**
 * struct ipt_entry and struct ip6t_entry: where in them things are. Before the counters the kernel notes
 * where it has come from when it last looked.
 */
export const layout = {
  4: { offsets: 88, counters: 96, size: 112 },
  6: { offsets: 140, counters: 152, size: 168 },
} as const;
/** struct xt_entry_target: its size, its name in 29 bytes, a revision, then what is its own. */
const TARGET_NAME = 2;
const TARGET_DATA = 32;

/** The content of a chain; see {@link legacyContent}. @param entries of a table, one after another. */
export function contentOf(entries: Buffer, family: Family, chain: string): string {
  const { offsets, counters, size } = layout[family];
  const found: string[] = [];
  let isOwn = false;
  let start = -1;
  const jumps: { to: number; rule: Buffer }[] = [];
  for (let at = 0; at + size <= entries.length; ) {
    const target = at + readU16(entries, at + offsets);
    const length = readU16(entries, at + offsets + 2);
    if (length < size || at + length > entries.length) break;
    const name = textAt(entries, target + TARGET_NAME);
    if (name === "ERROR") {
      isOwn = textAt(entries, target + TARGET_DATA) === chain;
      if (isOwn) start = at + length;
    } else if (isOwn || name === "") {
      const rule = Buffer.from(entries.subarray(at, at + length));
      // What it has counted, and where the kernel has come from when it last looked.
      rule.fill(0, counters - 4, size);
      if (isOwn) {
        found.push(rule.toString("hex"));
      } else {
        // Where the chain begins changes with every change of the table.
        rule.fill(0, target + TARGET_DATA - at, target + TARGET_DATA - at + 4);
        jumps.push({ to: readU32(entries, target + TARGET_DATA), rule });
      }
    }
    at += length;
  }
  const to = jumps.filter((jump) => jump.to === start).map(({ rule }) => rule.toString("hex"));
  return `${to.join(" ")}; ${found.join(" ")}`;
}

function textAt(bytes: Buffer, at: number): string {
  const end = bytes.indexOf(0, at);
  return bytes.toString("latin1", at, end < 0 ? bytes.length : end);
}

/** The entries of a table, or undefined where they cannot be had. */
function readTable(sys: Sys, family: Family, table: string): Buffer | undefined {
  const level = family === 4 ? SOL_IP : SOL_IPV6;
  const fd = sys.socket(family === 4 ? AF_INET : AF_INET6, SOCK_RAW_CLOEXEC, IPPROTO_RAW);
  if (fd < 0) return undefined;
  try {
    for (let time = 0; time < tries; time++) {
      const info = Buffer.alloc(INFO);
      info.write(table);
      if (sys.getsockopt(fd, level, SO_GET_INFO, info) < 0) return undefined;
      const size = info.subarray(INFO_SIZE, INFO);
      const length = new Uint32Array(Uint8Array.from(size).buffer)[0] ?? 0;
      const entries = Buffer.alloc(ENTRIES + length);
      entries.write(table);
      size.copy(entries, ENTRIES_SIZE);
      // EAGAIN: its size has changed.
      if (sys.getsockopt(fd, level, SO_GET_ENTRIES, entries) >= 0) return entries;
    }
    return undefined;
  } finally {
    closeSync(fd);
  }
}

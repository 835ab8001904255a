import { closeSync } from "node:fs";

import type { Family } from "../net/address.ts";
import { readU16 } from "../netlink/codec.ts";
import type { Sys } from "../runtime/sys.ts";
import {
  AF_INET,
  AF_INET6,
  contentOf,
  ENTRIES,
  hasLegacyTable,
  INFO,
  IPPROTO_RAW,
  layout,
  legacyTable,
  SO_GET_ENTRIES,
  SO_GET_INFO,
  SOCK_RAW_CLOEXEC,
  SOL_IP,
  SOL_IPV6,
} from "./iptables_legacy.ts";

/** A table as it was when it was last looked at. */
interface KnownTable {
  /** A struct ipt_getinfo to ask with, and the last answer. */
  readonly request: Buffer;
  readonly info: Buffer;
  /** How often the answer was another one. */
  version: number;
  entries: KnownEntries | undefined;
}

interface KnownEntries {
  readonly chain: string;
  readonly content: string;
  /** A struct ipt_get_entries without what is counted. */
  readonly bytes: Buffer;
  /** Where something is counted. */
  readonly counters: readonly number[];
  /** For the next answer. */
  readonly answer: Buffer;
}

/**
 * Tells whether tables of iptables-legacy have changed, as often as it is asked: its sockets stay open, and
 * a look at what has not changed makes next to no garbage.
 */
export class LegacyTables implements Disposable {
  readonly #sys: Sys;
  readonly #sockets = new Map<Family, number>();
  readonly #known = new Map<string, KnownTable>();
  readonly #answer = Buffer.alloc(INFO);

  /** In the network namespace that the thread is in. */
  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /**
   * A number that grows with nearly every change of a table's rules, as sizes and places change with
   * them; undefined where there is no such table.
   */
  stampOf(family: Family, table: string): number | undefined {
    const name = `${family} ${table}`;
    const known = this.#known.get(name);
    if (known === undefined && !hasLegacyTable(family, table)) return undefined;
    const { request, info } = known ?? newTable(table);
    this.#answer.set(request);
    if (this.#ask(family, SO_GET_INFO, this.#answer) < 0) {
      this.#known.delete(name);
      return undefined;
    }
    const now = known ?? { request, info, version: 0, entries: undefined };
    if (known === undefined) this.#known.set(name, now);
    if (info.equals(this.#answer)) return now.version;
    info.set(this.#answer);
    return ++now.version;
  }

  /** What a chain of a table is like; see {@link legacyContent}. */
  contentOf(family: Family, table: string, chain: string): string | undefined {
    const known = this.#known.get(`${family} ${table}`);
    if (known?.entries?.chain === chain && this.#isSame(family, known.entries)) {
      return known.entries.content;
    }
    const bytes = legacyTable(this.#sys, family, table);
    if (bytes === undefined) return undefined;
    const content = contentOf(bytes.subarray(ENTRIES), family, chain);
    if (known !== undefined) {
      const counters = countersOf(bytes, family);
      blank(bytes, counters, family);
      known.entries = { chain, content, bytes, counters, answer: Buffer.alloc(bytes.length) };
    }
    return content;
  }

  #isSame(family: Family, { bytes, counters, answer }: KnownEntries): boolean {
    answer.set(bytes.subarray(0, ENTRIES));
    // EAGAIN: its size has changed.
    if (this.#ask(family, SO_GET_ENTRIES, answer) < 0) return false;
    blank(answer, counters, family);
    return answer.equals(bytes);
  }

  #ask(family: Family, what: number, into: Buffer): number {
    return this.#sys.getsockopt(
      this.#socketFor(family),
      family === 4 ? SOL_IP : SOL_IPV6,
      what,
      into,
    );
  }

  #socketFor(family: Family): number {
    const known = this.#sockets.get(family);
    if (known !== undefined) return known;
    const domain = family === 4 ? AF_INET : AF_INET6;
    const socket = this.#sys.socket(domain, SOCK_RAW_CLOEXEC, IPPROTO_RAW);
    if (socket >= 0) this.#sockets.set(family, socket);
    return socket;
  }

  close(): void {
    for (const socket of this.#sockets.values()) closeSync(socket);
    this.#sockets.clear();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function newTable(table: string): Pick<KnownTable, "request" | "info"> {
  const request = Buffer.alloc(INFO);
  request.write(table);
  return { request, info: Buffer.alloc(INFO) };
}

/** Where a struct ipt_get_entries has what the kernel counts and notes. */
function countersOf(bytes: Buffer, family: Family): number[] {
  const { offsets, counters, size } = layout[family];
  const found: number[] = [];
  for (let at = ENTRIES; at + size <= bytes.length; ) {
    const length = readU16(bytes, at + offsets + 2);
    if (length < size || at + length > bytes.length) break;
    found.push(at + counters - 4);
    at += length;
  }
  return found;
}

function blank(bytes: Buffer, counters: readonly number[], family: Family): void {
  const length = layout[family].size - layout[family].counters + 4;
  for (const at of counters) bytes.fill(0, at, at + length);
}

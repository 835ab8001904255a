import { closeSync } from "node:fs";

import type { Family } from "../net/address.ts";
import type { Sys } from "../runtime/sys.ts";
import {
  AF_INET,
  AF_INET6,
  hasLegacyTable,
  INFO,
  IPPROTO_RAW,
  SO_GET_INFO,
  SOCK_RAW_CLOEXEC,
  SOL_IP,
  SOL_IPV6,
} from "./iptables_legacy.ts";

/** Tells whether tables have changed, as often as it is asked: its sockets stay open. */
export class LegacyTableStamps implements Disposable {
  readonly #sys: Sys;
  readonly #sockets = new Map<Family, number>();
  readonly #inUse = new Set<string>();

  /** In the network namespace that the thread is in. */
  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /**
   * What tells a table from most others, in little time: sizes and places, which change with nearly
   * every change of a rule. Undefined where there is no such table.
   */
  stampOf(family: Family, table: string): string | undefined {
    const name = `${family} ${table}`;
    if (!this.#inUse.has(name) && !hasLegacyTable(family, table)) return undefined;
    const info = Buffer.alloc(INFO);
    info.write(table);
    const level = family === 4 ? SOL_IP : SOL_IPV6;
    if (this.#sys.getsockopt(this.#socketFor(family), level, SO_GET_INFO, info) < 0) {
      this.#inUse.delete(name);
      return undefined;
    }
    this.#inUse.add(name);
    return info.toString("hex");
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

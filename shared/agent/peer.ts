import { statSync } from "node:fs";
import type { Stats } from "node:fs";
import type { SystemCalls } from "../runtime/system_calls.ts";
import type { Sys } from "../runtime/sys.ts";
import { SOL_SOCKET, SO_PEERCRED } from "../runtime/socket_constants.ts";

/**
 * Who is at the other end of a connection. The agent does nothing for a caller that this one could not
 * do itself.
 */
/** CAP_NET_ADMIN and CAP_SYS_ADMIN. */
const needed = (1 << 12) | (1 << 21);

/** What is compared: the namespaces of network and users, and the root folder. */
const places = ["ns/net", "ns/user", "root"] as const;

type Place = Pick<Stats, "dev" | "ino">;

/** Says why a client is not served. */
export class PeerCheck {
  readonly #sys: Sys;
  readonly #system: SystemCalls;
  readonly #own: readonly (Place | undefined)[];

  constructor(sys: Sys, system: SystemCalls) {
    this.#sys = sys;
    this.#system = system;
    this.#own = placesOf("self");
  }

  /** @returns undefined for a process that is as free to act as this one. */
  problem(fd: number): string | undefined {
    // struct ucred: pid, uid, gid.
    const ucred = Buffer.alloc(12);
    if (this.#sys.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred) !== ucred.length) {
      return "the kernel does not tell who it is";
    }
    const [pid, uid] = [ucred.readInt32LE(0), ucred.readUInt32LE(4)];
    if (uid !== 0) return "it is not root";
    if (pid === 0) return "it is in a PID namespace that this process does not see";
    const capabilities = this.#system.capabilities(pid) ?? 0;
    if ((capabilities & needed) !== needed) return "it lacks CAP_NET_ADMIN or CAP_SYS_ADMIN";
    const found = placesOf(String(pid));
    const at = places.findIndex((_, index) => !isSame(found[index], this.#own[index]));
    return at === -1 ? undefined : `its ${places[at] ?? ""} is not the agent's`;
  }
}

function isSame(a: Place | undefined, b: Place | undefined): boolean {
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}

function placesOf(process: string): (Place | undefined)[] {
  return places.map((place) => {
    try {
      return statSync(`/proc/${process}/${place}`, { throwIfNoEntry: false });
    } catch {
      // It has just ended.
      return undefined;
    }
  });
}

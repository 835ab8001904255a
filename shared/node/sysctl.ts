import { readFileSync, writeFileSync } from "node:fs";

import { Failure, errnoOf, messageOf } from "../base/failure.ts";
import type { SetSysctl } from "../netlink/change.ts";
import { describe } from "../netlink/encode.ts";

/**
 * A sysctl of the network namespace that the thread is in.
 * @param key its path under /proc/sys.
 * @returns undefined if this kernel does not have it.
 */
export function readSysctl(key: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${key}`, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** Writes a sysctl of the network namespace that the thread is in. @throws Failure kernel */
export function writeSysctl(change: SetSysctl): void {
  try {
    writeFileSync(`/proc/sys/${change.key}`, change.value, { flag: "r+" });
  } catch (cause) {
    if (change.optional && errnoOf(cause) === "ENOENT") return;
    throw new Failure(
      "kernel",
      `Cannot ${describe(change)}: ${messageOf(cause)}.`,
      "If /proc/sys is read-only here, mount it writable for the container runtime.",
      { cause },
    );
  }
}

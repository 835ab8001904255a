import { openSync, statSync } from "node:fs";
import type { Stats } from "node:fs";

import { CniError, Code, errnoOf, messageOf } from "../cni/error.ts";

/** Where a process finds the network namespace that it is in. */
export const ownPath = "/proc/self/ns/net";

/**
 * Opens the file of a network namespace.
 * @returns undefined if there is nothing at the path.
 * @throws CniError InvalidEnvironment
 */
export function openNetns(path: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === "ENOENT" || errno === "ENOTDIR" || errno === "ESRCH") return undefined;
    throw new CniError(
      Code.InvalidEnvironment,
      `Cannot open the namespace ${path}: ${messageOf(cause)}.`,
      "Set CNI_NETNS to a path such as /run/netns/NAME or /proc/PID/ns/net.",
      { cause },
    );
  }
  // Opening an ordinary file is harmless, setns on it is EINVAL; a folder or device would do too.
  return fd;
}

/** Whether a path leads to the namespace that the process is in. One that leads nowhere does not. */
export function isOwnNamespace(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found !== undefined && sameFile(found, statSync(ownPath));
}

export function sameFile(one: Stats, other: Stats): boolean {
  return one.ino === other.ino && one.dev === other.dev;
}

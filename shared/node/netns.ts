import { openSync, statSync } from "node:fs";
import type { Stats } from "node:fs";

import { ownNetns } from "../files/paths.ts";
import { Failure, errnoOf, messageOf } from "../base/failure.ts";

/** How the path of a network namespace looks. */
export const namespacePathAdvice =
  "Name a network namespace, such as /run/netns/NAME or /proc/PID/ns/net.";

/**
 * Opens the file of a network namespace.
 * @returns undefined if there is nothing at the path.
 * @throws Failure invalid
 */
export function openNetns(path: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === "ENOENT" || errno === "ENOTDIR" || errno === "ESRCH") return undefined;
    throw new Failure(
      "invalid",
      `Cannot open the namespace ${path}: ${messageOf(cause)}.`,
      namespacePathAdvice,
      { cause },
    );
  }
  // Opening an ordinary file is harmless, setns on it is EINVAL; a folder or device would do too.
  return fd;
}

/** Whether a path leads to the namespace that the process is in. One that leads nowhere does not. */
export function isOwnNamespace(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found !== undefined && sameFile(found, statSync(ownNetns));
}

export function sameFile(one: Stats, other: Stats): boolean {
  return one.ino === other.ino && one.dev === other.dev;
}

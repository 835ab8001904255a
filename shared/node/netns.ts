import { constants, openSync, statSync } from "node:fs";
import type { Stats } from "node:fs";

import { ownNetns } from "../files/paths.ts";
import { Failure, errnoOf, messageOf } from "../base/failure.ts";

/** Advice for a wrong path of a network namespace. */
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
    // Opening never blocks, not even on a FIFO.
    fd = openSync(path, constants.O_NONBLOCK | constants.O_NOCTTY);
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
  // Opening a wrong file is harmless; setns refuses it with EINVAL.
  return fd;
}

/** Whether a path is that of the namespace that the process is in. */
export function isOwnNamespace(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found !== undefined && sameFile(found, statSync(ownNetns));
}

export function sameFile(a: Stats, b: Stats): boolean {
  return a.ino === b.ino && a.dev === b.dev;
}

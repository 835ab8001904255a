import { readFileSync, writeFileSync } from "node:fs";

import { Failure, errnoOf, messageOf } from "../base/failure.ts";
import { sysctlPath } from "../files/paths.ts";
import type { Family } from "../net/address.ts";
import type { SetSysctl } from "../netlink/change.ts";
import { describe } from "../netlink/encode.ts";

/** The sysctl that lets the node forward packets of a family. */
export function forwardingKey(family: Family): string {
  return family === 4 ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding";
}

/** The sysctls that make bridged packets pass the firewall. */
export function bridgeNetfilterKey(family: Family): string {
  return `net/bridge/bridge-nf-call-ip${family === 4 ? "" : "6"}tables`;
}

/**
 * A sysctl of the network namespace that the thread is in.
 * @param key its path under /proc/sys.
 * @returns undefined if this kernel does not have it.
 */
export function readSysctl(key: string): string | undefined {
  try {
    return readFileSync(sysctlPath(key), "utf8").trim();
  } catch {
    return undefined;
  }
}

/**
 * Sets a sysctl of the network namespace that the thread is in. A value that is already right is
 * not written: writing may be forbidden here, and takes a lock in the kernel.
 * @returns why an optional one could not be set, if the kernel has it.
 * @throws Failure kernel
 */
export function setSysctl(change: SetSysctl): Failure | undefined {
  if (readSysctl(change.key) === change.value) return undefined;
  try {
    writeFileSync(sysctlPath(change.key), change.value, { flag: "r+" });
    return undefined;
  } catch (cause) {
    if (change.optional && errnoOf(cause) === "ENOENT") return undefined;
    const failure = new Failure(
      "kernel",
      `Cannot ${describe(change)}: ${messageOf(cause)}.`,
      "If /proc/sys is read-only here, mount it writable for the container runtime, or set it beforehand.",
      { cause },
    );
    if (change.optional) return failure;
    throw failure;
  }
}

import { Failure } from "../base/failure.ts";
import { sleep } from "../files/lock.ts";
import type { Namespace } from "./namespace.ts";

/**
 * Waits until packets can pass links: a bridge forwards nothing to a port before the kernel has seen
 * its carrier, which it learns on a queue of its own.
 * @param timeout milliseconds
 * @throws Failure kernel when one of them is gone, or the time is over.
 */
export function waitForCarrier(
  namespace: Namespace,
  names: readonly string[],
  timeout: number,
): void {
  const end = performance.now() + timeout;
  for (let pause = 0.2; ; pause = Math.min(pause * 2, 50)) {
    const links = namespace.lookUp(names);
    const at = links.findIndex((link) => link?.operational !== true);
    if (at === -1) return;
    const name = names[at] ?? "";
    if (links[at] === undefined) {
      throw new Failure(
        "kernel",
        `Cannot use ${name}: it is gone again.`,
        "Something else on this node deletes it: a DEL of the same pod, or a program that tidies links.",
      );
    }
    if (performance.now() >= end) {
      throw new Failure(
        "kernel",
        `Cannot use ${name}: it has no carrier after ${String(timeout / 1000)} seconds.`,
        "See the kernel's log (dmesg); a node with too many links may be slow to bring one up.",
      );
    }
    sleep(pause);
  }
}

/**
 * Waits until the kernel knows that no other has a link's IPv6 addresses (RFC 4862).
 * @param timeout milliseconds
 * @throws Failure conflict if another has one; busy when the time is over.
 */
export function waitForDuplicateDetection(
  namespace: Namespace,
  name: string,
  timeout: number,
): void {
  const end = performance.now() + timeout;
  for (;;) {
    const state = namespace.duplicateDetection(name);
    if (state === "none") return;
    if (state === "failed") {
      throw new Failure(
        "conflict",
        `Cannot use the addresses of ${name}: another host on the link has one of them.`,
        "Find out which: ip -6 neighbour, or a packet capture for neighbour advertisements.",
      );
    }
    if (performance.now() >= end) {
      throw new Failure(
        "busy",
        `Cannot use the addresses of ${name}: duplicate address detection is not done after ${timeout / 1000} seconds.`,
        "See whether the link has a carrier, or switch duplicate address detection off.",
      );
    }
    sleep(20);
  }
}

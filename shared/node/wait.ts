import { Failure } from "../base/failure.ts";
import type { Address } from "../net/address.ts";
import { sleep } from "../runtime/sleep.ts";
import type { Namespace } from "./namespace.ts";

/**
 * Waits until packets can pass links. A bridge forwards nothing to a port until the kernel has noticed
 * the port's carrier, which it does a little later, in a work queue.
 * @param timeout milliseconds
 * @throws Failure kernel if one of them is gone, or the time is over.
 */
export function waitForCarrier(
  namespace: Namespace,
  names: readonly string[],
  timeout: number,
): void {
  const end = performance.now() + timeout;
  for (let pause = 0.2; ; pause = Math.min(pause * 2, 50)) {
    const links = namespace.lookAgain(names);
    // Of one that had a carrier before, the kernel may not have seen yet that it is gone.
    const at = links.findIndex((link) => link?.operational !== true || !link.carrier);
    if (at === -1) return;
    const name = names[at] ?? "";
    if (links[at] === undefined) {
      throw new Failure(
        "kernel",
        `Cannot use ${name}: it has disappeared.`,
        "Another program on this node has deleted it: a DEL of the same pod, or one that removes links.",
      );
    }
    if (performance.now() >= end) {
      throw new Failure(
        "kernel",
        `Cannot use ${name}: it has no carrier after ${String(timeout / 1000)} seconds.`,
        "See the kernel's log (dmesg). A node with very many links may be slow to bring one up.",
      );
    }
    sleep(pause);
  }
}

/**
 * Waits until duplicate address detection of a link's IPv6 addresses is done (RFC 4862).
 * @param timeout milliseconds
 * @throws Failure conflict if another host has one of them; busy if the time is over.
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
        "To find it, run ip -6 neighbour, or capture neighbour advertisements.",
      );
    }
    if (performance.now() >= end) {
      throw new Failure(
        "busy",
        `Cannot use the addresses of ${name}: duplicate address detection is not done after ${timeout / 1000} seconds.`,
        "See whether the link has a carrier, or turn duplicate address detection off.",
      );
    }
    sleep(20);
  }
}

/**
 * Waits until the kernel takes packets for IPv6 addresses of a link. It makes their local routes a
 * little later than the addresses, in a work queue that also waits for others' changes of links.
 * @param timeout milliseconds
 * @returns the addresses that still have none when the time is over, as where a rule of the node's
 *   routing leads elsewhere.
 * @throws Failure kernel
 */
export function waitForLocalRoutes(
  namespace: Namespace,
  link: string,
  addresses: readonly Address[],
  timeout: number,
): readonly Address[] {
  const end = performance.now() + timeout;
  for (let pause = 0.2; ; pause = Math.min(pause * 2, 50)) {
    const late = namespace.withoutLocalRoute(link, addresses);
    if (late.length === 0 || performance.now() >= end) return late;
    sleep(pause);
  }
}

import { formatAddress } from "../../shared/net/address.ts";
import {
  type Namespace,
  waitForCarrier,
  waitForDuplicateDetection,
  waitForLocalRoutes,
} from "../../shared/node/node.ts";
import type { Phase, Place } from "./plan.ts";

/** Milliseconds that a new port may take until it forwards. It takes less than one. */
const carrierTimeout = 5000;
/** Milliseconds for duplicate address detection, which takes a second and a random time more. */
const detectionTimeout = 10_000;
/** Milliseconds until the kernel has made the routes to new IPv6 addresses. It takes less than one. */
const localRouteTimeout = 2000;

/**
 * Carries the phases of a plan out, one after the other.
 * @param warn is told what could not be done that is optional.
 * @throws Failure
 */
export function applyPhases(
  phases: readonly Phase[],
  namespaces: Readonly<Record<Place, Namespace>>,
  warn: (line: string) => void,
): void {
  for (const phase of phases) {
    const namespace = namespaces[phase.in];
    if ("changes" in phase) {
      for (const { message } of namespace.apply(phase.changes)) warn(`${message} ADD goes on.`);
    }
    if ("carrierOf" in phase) waitForCarrier(namespace, phase.carrierOf, carrierTimeout);
    if ("duplicateDetectionOf" in phase) {
      waitForDuplicateDetection(namespace, phase.duplicateDetectionOf, detectionTimeout);
    }
    if ("localRoutesTo" in phase) {
      const { link, localRoutesTo } = phase;
      const late = waitForLocalRoutes(namespace, link, localRoutesTo, localRouteTimeout);
      for (const address of late) {
        warn(
          `The kernel takes no packets for ${formatAddress(address)} of ${link} yet. ADD goes on.`,
        );
      }
    }
  }
}

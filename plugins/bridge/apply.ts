import {
  type Namespace,
  waitForCarrier,
  waitForDuplicateDetection,
} from "../../shared/node/node.ts";
import type { Phase, Place } from "./plan.ts";

/** Milliseconds for a new port to begin to forward; it takes less than one. */
const carrierTimeout = 5000;
/** Milliseconds for duplicate address detection, which waits a second, and some at random. */
const detectionTimeout = 10_000;

/** Carries the phases of a plan out, one after the other. @throws Failure */
export function applyPhases(
  phases: readonly Phase[],
  namespaces: Readonly<Record<Place, Namespace>>,
): void {
  for (const phase of phases) {
    const namespace = namespaces[phase.in];
    if ("changes" in phase) namespace.apply(phase.changes);
    else if ("carrierOf" in phase) waitForCarrier(namespace, phase.carrierOf, carrierTimeout);
    else waitForDuplicateDetection(namespace, phase.duplicateDetectionOf, detectionTimeout);
  }
}

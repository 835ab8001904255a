import {
  type Namespace,
  waitForCarrier,
  waitForDuplicateDetection,
} from "../../shared/node/node.ts";
import type { Phase, Place } from "./plan.ts";

/** Milliseconds that a new port may take until it forwards. It takes less than one. */
const carrierTimeout = 5000;
/** Milliseconds for duplicate address detection, which takes a second and a random time more. */
const detectionTimeout = 10_000;

/** Carries out the phases of a plan, in order. @throws Failure */
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

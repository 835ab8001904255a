import { capacity, describe, isGateway, rangeOf } from "../../../../shared/ipam/ranges.ts";
import { isTaken } from "../../../../shared/ipam/reservation.ts";
import type { Finding } from "../../../../shared/preconditions/finding.ts";
import { collecting, keepsResults, some } from "../view.ts";
import type { View } from "../view.ts";

/** Percent of a range. From then on doctor says how full it is. */
const nearlyFull = 90;

/** Addresses: how many are left, and which belong to no container. */
export function checkAddresses(view: View): Finding[] {
  return [...fullness(view), ...leaked(view)];
}

function fullness(view: View): Finding[] {
  const { reservations } = view;
  if (reservations === undefined) return [];
  const { conf, reservations: all } = reservations;
  return conf.rangeSets.flatMap((set): Finding[] => {
    const size = capacity(set);
    const taken = all.filter(
      (reservation) =>
        isTaken(reservation) &&
        rangeOf(set, reservation.address) !== undefined &&
        !isGateway(set, reservation.address),
    );
    const percent = Number((BigInt(taken.length) * 100n) / size);
    if (percent < nearlyFull) return [];
    const isFull = BigInt(taken.length) >= size;
    const network = conf.folder.slice(conf.folder.lastIndexOf("/") + 1);
    return [
      {
        id: isFull ? "range-full" : "range-nearly-full",
        severity: isFull ? "error" : "warning",
        what: `${String(taken.length)} of the ${String(size)} addresses of ${describe(set)} are reserved.`,
        means: isFull
          ? 'No pod can start: "no IP addresses available in range set".'
          : "When the last one is taken, no pod can start.",
        fix: `check whether all are in use: ${view.cnitool} ps; if not: ${collecting(view, network)}; if so, allow fewer pods (maxPods) or give the node a larger subnet`,
      },
    ];
  });
}

/** Reservations of containers that do not exist, and that no running ADD can have made. */
function leaked(view: View): Finding[] {
  const { reservations, cached, damaged, unrecorded, starting, configs } = view;
  const { network } = configs;
  if (reservations === undefined || network === undefined || !keepsResults(view)) return [];
  // Only those of this network: containerd keeps a result for each pod's loopback as well.
  const attachments = [
    ...cached.filter((attachment) => attachment.network === network.name),
    ...damaged.flatMap(({ candidates }) => candidates),
    ...unrecorded,
  ];
  const known = new Set([...attachments.map(({ containerId }) => containerId), ...starting]);
  const lost = reservations.reservations.filter(
    (reservation) => isTaken(reservation) && !known.has(reservation.owner?.containerId ?? ""),
  );
  if (lost.length === 0) return [];
  return [
    {
      id: "leaked-address",
      severity: "warning",
      what: `Addresses are reserved for containers that do not exist: ${some(lost.map(({ file, owner }) => `${file} (${owner?.containerId ?? ""})`))}.`,
      means:
        "A DEL was lost. Nobody gets these addresses until the node restarts or the range is full.",
      fix: collecting(view, network.name),
    },
  ];
}

import { listIfPresent, writeProblem } from "../../../shared/files/files.ts";
import { Cache } from "../../../shared/libcni/cache.ts";
import { capacity, describe, isGateway, rangeOf } from "../../../shared/ipam/ranges.ts";
import { isTaken } from "../../../shared/ipam/reservation.ts";
import { podOf } from "../node/plugin_call.ts";
import { quoted } from "../invoke.ts";
import { some } from "./finding.ts";
import type { Finding } from "./finding.ts";
import type { View } from "./view.ts";
import { runFolder } from "../../../shared/files/paths.ts";

/** Percent of a range from which on it is said how full it is. */
const nearlyFull = 90;

/** Addresses and what else is kept on disk: how much is left, and what belongs to nobody. */
export function checkAddresses(view: View): Finding[] {
  return [...fullness(view), ...leaked(view), ...gone(view), ...files(view)];
}

/** How collecting what is nobody's begins: with a look. */
export function collecting(network: string): string {
  const name = quoted(network);
  return `cnitool ps --valid | cnitool gc ${name} --valid-file - --dry-run (then the same without --dry-run)`;
}

function fullness({ reserved }: View): Finding[] {
  if (reserved === undefined) return [];
  const { conf, reservations } = reserved;
  return conf.rangeSets.flatMap((set): Finding[] => {
    const all = capacity(set);
    const taken = reservations.filter(
      (one) =>
        isTaken(one) && rangeOf(set, one.address) !== undefined && !isGateway(set, one.address),
    );
    const percent = Number((BigInt(taken.length) * 100n) / all);
    if (percent < nearlyFull) return [];
    const isFull = BigInt(taken.length) >= all;
    return [
      {
        id: isFull ? "range-full" : "range-nearly-full",
        severity: isFull ? "error" : "warning",
        what: `${String(taken.length)} of the ${String(all)} addresses of ${describe(set)} are reserved.`,
        means: isFull
          ? 'No pod can start: "no IP addresses available in range set".'
          : "When the last one is given, no pod can start.",
        mend: `see whether they are all in use: cnitool ps; if not, ${collecting(conf.folder.slice(conf.folder.lastIndexOf("/") + 1))}; if so, give the node fewer pods (maxPods) or a larger subnet`,
      },
    ];
  });
}

/** Reservations of containers that are not there, and that nobody is just making. */
function leaked({ reserved, attached, young, winner, isComplete }: View): Finding[] {
  if (reserved === undefined || winner === undefined || !isComplete) return [];
  // Not those of another network: containerd keeps a result for each pod's loopback, too.
  const own = attached.filter(({ network }) => network === winner.name);
  const known = new Set(own.map(({ containerId }) => containerId));
  const lost = reserved.reservations.filter(
    (one) =>
      isTaken(one) &&
      !known.has(one.owner?.containerId ?? "") &&
      !young.has(one.owner?.containerId ?? ""),
  );
  if (lost.length === 0) return [];
  return [
    {
      id: "leaked-address",
      severity: "warning",
      what: `Addresses are reserved for containers that are not there: ${some(lost.map(({ file, owner }) => `${file} (${owner?.containerId ?? ""})`))}.`,
      means:
        "A DEL was lost. The addresses are given to nobody, until the range is full or the node restarts.",
      mend: collecting(winner.name),
    },
  ];
}

/** Attachments whose namespace is gone. */
function gone({ attached, winner }: View): Finding[] {
  const left = attached.filter(
    ({ state, network }) => state === "gone" && network === winner?.name,
  );
  if (left.length === 0 || winner === undefined) return [];
  return [
    {
      id: "pod-gone",
      severity: "warning",
      what: `Pods have gone without a DEL: ${some(left.map((one) => podOf(one) ?? one.containerId))}.`,
      means: "What they had is left: addresses, rules, and the runtime's note of them.",
      mend: collecting(winner.name),
    },
  ];
}

function files({ winner }: View): Finding[] {
  const cache = new Cache();
  const findings: Finding[] = [];
  const problem = writeProblem(cache.folder);
  if (problem !== undefined) {
    findings.push({
      id: "not-writable",
      severity: "error",
      what: `Nothing can be written to ${cache.folder}: ${problem}.`,
      means: "No pod can start: the runtime keeps each pod's result there.",
      mend: "mount -o remount,rw /var, or see what is in the place of the folder",
    });
  }
  const damaged = cache.entries().flatMap((one) => ("problem" in one ? [one.file] : []));
  const [first = ""] = damaged;
  if (damaged.length > 0) {
    findings.push({
      id: "damaged-result",
      severity: "warning",
      what: `Files are no results of an ADD: ${some(damaged)}.`,
      means: "The runtime cannot CHECK these pods, and forgets them in GC.",
      mend: `rm ${quoted(first)}`,
    });
  }
  const leftovers = listIfPresent(`${runFolder}/portmap/leftovers`);
  if (leftovers.length > 0) {
    findings.push({
      id: "rules-left",
      severity: "warning",
      what: `portmap could not delete the rules of ${String(leftovers.length)} containers.`,
      means: "Their host ports lead nowhere. Each later call tries again.",
      mend: collecting(winner?.name ?? "cbr0"),
    });
  }
  return findings;
}

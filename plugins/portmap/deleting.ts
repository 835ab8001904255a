import { isFailure } from "../../shared/base/failure.ts";
import type { Family } from "../../shared/net/address.ts";
import * as ipt from "./iptables.ts";
import * as nft from "./nftables.ts";
import { changedSince, retryOnConflict } from "../../shared/firewall/retry.ts";
import { hasIptables, taggedRules, unusable } from "./rules.ts";
import type { Container, Tools } from "./rules.ts";
import { familiesOf } from "./target.ts";
import type { Target } from "./target.ts";

/**
 * Deletes the rules that records say some containers have, by their very words, without a listing.
 * @throws CniError Firewall if they are not there as they were made.
 */
function removeRecorded(tools: Tools, targets: readonly Target[], family: Family): void {
  const { firewall, digest } = tools;
  const variant = firewall.variant(family);
  const lines = targets
    .filter(({ backend }) => backend === "iptables")
    .filter((target) => hasIptables(tools, target, family, variant))
    .flatMap((target) => ipt.removeLines(target, family, digest));
  if (lines.length > 0) firewall.restore(family, ipt.transaction(lines), variant);
  const others = targets.filter(({ backend }) => backend === "nftables");
  if (others.length > 0) removeNftables(tools, others, family);
}

/**
 * Deletes whatever rules some containers have in a family, of any backend, by their ids: in one
 * transaction for each backend that has any.
 * @throws CniError Firewall, TryAgainLater
 */
export function removeFound(tools: Tools, containers: readonly Container[], family: Family): void {
  const { firewall, digest } = tools;
  for (const variant of ["nft", "legacy"] as const) {
    retryOnConflict(() => {
      const there = containers.filter((of) => hasIptables(tools, of, family, variant));
      if (there.length === 0) return;
      const saved = firewall.save(family, "nat", variant);
      if (saved === undefined) throw unusable(family, variant);
      const lines = there.flatMap((of) => ipt.removeListedLines(of, saved, digest));
      if (lines.length > 0) firewall.restore(family, ipt.transaction(lines), variant);
    });
  }
  removeNftables(tools, containers, family);
}

function removeNftables(
  { firewall }: Tools,
  containers: readonly { containerId: string }[],
  family: Family,
): void {
  retryOnConflict(() => {
    const rules = taggedRules(firewall, containers, family);
    if (rules.length === 0) return;
    const commands = nft.deleteCommands(family, rules);
    if (!firewall.nft(`${commands.join("\n")}\n`)) throw changedSince();
  });
}

/** Deletes targets' rules in a family, by their records, or by what is found. */
export function removeRules(tools: Tools, targets: readonly Target[], family: Family): void {
  const own = targets.filter((target) => familiesOf(target).includes(family));
  try {
    removeRecorded(tools, own, family);
  } catch (error) {
    if (!isFailure(error, "firewall")) throw error;
    removeFound(tools, own, family);
  }
}

import type { AsyncFirewall } from "../../../shared/firewall/async_firewall.ts";
import { planIptables } from "./iptables.ts";
import { nftablesRemoval } from "./nftables.ts";
import type { RulePlace } from "./watch.ts";

/** All places where flannel may have rules. */
export const allPlaces: readonly RulePlace[] = ([4, 6] as const).flatMap((family) =>
  (["nft", "legacy", "nftables"] as const).map((mode) => ({ family, mode })),
);

/** What people call a place. */
export function nameOf({ mode }: RulePlace): string {
  return mode === "nftables" ? mode : `iptables-${mode}`;
}

/**
 * Removes all of flannel's rules in a place.
 * @param isOld whether a rule of a built-in chain is an older version's, though it has no comment.
 * @returns whether there were any.
 * @throws Failure firewall, busy
 */
export async function removeRules(
  firewall: Pick<AsyncFirewall, "nft" | "restore" | "save">,
  { family, mode }: RulePlace,
  isOld?: (rule: string) => boolean,
): Promise<boolean> {
  if (mode === "nftables") return firewall.nft(nftablesRemoval(family));
  const [nat, filter] = [
    await firewall.save(family, "nat", mode),
    await firewall.save(family, "filter", mode),
  ];
  const text = planIptables(undefined, { nat, filter }, new Map(), isOld);
  if (text === undefined) return false;
  await firewall.restore(family, text, mode);
  return true;
}

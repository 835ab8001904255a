import type { Firewall, Variant } from "../../../shared/firewall/firewall.ts";
import type { Family } from "../../../shared/net/address.ts";
import {
  hostPortRuleOwners,
  iptablesRuleOwners,
  masqueradeRuleOwners,
} from "../../../shared/firewall/rule_owners.ts";
import type { RuleOwner } from "../../../shared/firewall/rule_owners.ts";

/** A container with rules, and where they are. */
export interface OwnedRules extends RuleOwner {
  /** In words, with how to look at them. */
  readonly where: string;
}

const families: readonly Family[] = [4, 6];
const variants: readonly Variant[] = ["nft", "legacy"];

/** Whose rules of bridge and portmap this node has. @throws CniError Firewall */
export function ruleOwners(firewall: Firewall): OwnedRules[] {
  const found: OwnedRules[] = [];
  const add = (owners: readonly RuleOwner[], where: string): void => {
    for (const owner of owners) found.push({ ...owner, where });
  };
  for (const family of families) {
    for (const variant of variants) {
      if (!isUsed(firewall, family, variant)) continue;
      const tool = `ip${family === 4 ? "" : "6"}tables-${variant}`;
      add(iptablesRuleOwners(firewall.save(family, "nat", variant) ?? ""), `${tool} -t nat -S`);
    }
    const table = ["table", family === 4 ? "ip" : "ip6", "cni_hostport"];
    const listed = firewall.nftList(["list", ...table]) ?? "";
    add(hostPortRuleOwners(listed), `nft list ${table.join(" ")}`);
  }
  const table = ["table", "inet", "cni_plugins_masquerade"];
  const listed = firewall.nftList(["list", ...table]) ?? "";
  add(masqueradeRuleOwners(listed), `nft list ${table.join(" ")}`);
  return found;
}

/** Whether a nat table is there. To look at one of iptables-legacy that is not would make it. */
function isUsed(firewall: Firewall, family: Family, variant: Variant): boolean {
  if (variant === "legacy") return firewall.hasLegacyTable(family, "nat");
  return ["PREROUTING", "OUTPUT", "POSTROUTING"].some((chain) =>
    firewall.hasChain(family, "nat", chain),
  );
}

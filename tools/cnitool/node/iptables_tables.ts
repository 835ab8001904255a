import type { Firewall, Variant } from "../../../shared/firewall/firewall.ts";
import type { Family } from "../../../shared/net/address.ts";

/** The built-in chains of each table, of which one is there where the table is. */
export const iptablesChains = {
  raw: ["PREROUTING", "OUTPUT"],
  mangle: ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
  nat: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
  filter: ["INPUT", "FORWARD", "OUTPUT"],
  security: ["INPUT", "FORWARD", "OUTPUT"],
} as const;

export type IptablesTable = keyof typeof iptablesChains;

/** The two iptables. */
export const variants: readonly Variant[] = ["nft", "legacy"];

/** Whether a table of iptables is in use. To list one of iptables-legacy that is not would make it. */
function hasIptablesTable(
  firewall: Firewall,
  family: Family,
  table: IptablesTable,
  variant: Variant,
): boolean {
  if (variant === "legacy") return firewall.hasLegacyTable(family, table);
  return iptablesChains[table].some((chain) => firewall.hasChain(family, table, chain));
}

/** What iptables-save of a variant says of a table, or "" where it is not in use. @throws Failure firewall */
export function savedTable(
  firewall: Firewall,
  family: Family,
  table: IptablesTable,
  variant: Variant,
): string {
  if (!hasIptablesTable(firewall, family, table, variant)) return "";
  return firewall.save(family, table, variant) ?? "";
}

/** The command that shows and changes a family's rules. */
export function iptablesCommand(family: Family): "iptables" | "ip6tables" {
  return family === 4 ? "iptables" : "ip6tables";
}

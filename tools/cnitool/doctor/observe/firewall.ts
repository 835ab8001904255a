import type { Firewall, Variant } from "../../../../shared/firewall/firewall.ts";
import type { Family } from "../../../../shared/net/address.ts";
import type { Link } from "../../../../shared/node/node.ts";
import type { Tool } from "../../command.ts";
import { savedTable } from "../../node/iptables_tables.ts";
import type { Reservations } from "../../node/reservations.ts";
import { ruleOwners } from "../../node/rule_owners.ts";
import type { BridgeView, ConfigsView, FirewallView } from "../view.ts";
import { observePaths } from "./packet_paths.ts";

/** The view of a firewall that could not be looked at. */
export const noFirewall: FirewallView = {
  commands: { iptables: true, nft: true },
  variant: "nft",
  bothVariants: false,
  markChain: undefined,
  paths: [],
  owners: [],
};

interface Observed {
  readonly configs: ConfigsView;
  readonly links: readonly Link[];
  readonly bridge: BridgeView | undefined;
  readonly reservations: Reservations | undefined;
}

/**
 * Looks at the firewall: its commands, what it does with pods' packets, and the owners of its
 * rules.
 */
export function observeFirewall(tool: Tool, observed: Observed): FirewallView {
  const { node, firewall } = tool;
  const rangeSets = observed.reservations?.conf.rangeSets ?? [];
  const families = [...new Set(rangeSets.map(([range]) => range.subnet.address.family))];
  const hasNat = (variant: Variant): boolean =>
    savedTable(firewall, 4, "nat", variant).includes("\n-A ");
  return {
    commands: { iptables: node.hasCommand("iptables-restore"), nft: node.hasCommand("nft") },
    variant: firewall.variant(4),
    bothVariants: hasNat("legacy") && hasNat("nft"),
    markChain: observeMarkChain(firewall, observed.configs, families),
    paths: families.flatMap((family) => observePaths(tool, observed, family)),
    owners: ruleOwners(firewall),
  };
}

/** The chain of portmap's externalSetMarkChain, and the families whose nat table lacks it. */
function observeMarkChain(
  firewall: Firewall,
  { network }: ConfigsView,
  families: readonly Family[],
): FirewallView["markChain"] {
  const name = network?.plugins.find(({ type }) => type === "portmap")?.["externalSetMarkChain"];
  if (typeof name !== "string" || name === "") return undefined;
  const missing = families.filter(
    (family) => !firewall.hasIptablesChain(family, "nat", name, firewall.variant(family)),
  );
  return { name, missing };
}

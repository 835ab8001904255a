import type { Firewall } from "../../../shared/firewall/firewall.ts";
import { hostPortKind } from "../../../shared/firewall/host_ports.ts";
import { masqueradeKind } from "../../../shared/firewall/masquerade.ts";
import { tableOf } from "../../../shared/firewall/nftables_text.ts";
import type { Family } from "../../../shared/net/address.ts";
import { iptablesCommand, savedTable, variants } from "./iptables_tables.ts";

/** A container with rules, and where they are. */
export interface LocatedOwner {
  /** Undefined where the rule does not say it. */
  readonly network: string | undefined;
  /** Truncated where the firewall limits comments. */
  readonly containerId: string;
  /** In words, with how to look at them. */
  readonly where: string;
}

interface Owner {
  readonly network: string | undefined;
  readonly containerId: string | undefined;
}

const families: readonly Family[] = [4, 6];

/** The owners of bridge's and portmap's rules on this node. @throws Failure firewall */
export function ruleOwners(firewall: Firewall): LocatedOwner[] {
  const found = new Map<string, LocatedOwner>();
  const add = (owners: readonly Owner[], where: string): void => {
    for (const { network, containerId } of owners) {
      if (containerId === undefined) continue;
      found.set(`${where} ${network} ${containerId}`, { network, containerId, where });
    }
  };
  for (const family of families) {
    for (const variant of variants) {
      const where = `${iptablesCommand(family)}-${variant} -t nat -S`;
      const saved = savedTable(firewall, family, "nat", variant);
      for (const kind of [hostPortKind, masqueradeKind]) {
        add(kind.ownersInIptables?.(saved, family) ?? [], where);
      }
    }
  }
  for (const kind of [hostPortKind, masqueradeKind]) {
    for (const table of kind.nftables) {
      const what = ["list", "table", ...tableOf(table).split(" ")];
      add(kind.ownersInNftables(firewall.nftList(what) ?? ""), `nft ${what.join(" ")}`);
    }
  }
  return [...found.values()];
}

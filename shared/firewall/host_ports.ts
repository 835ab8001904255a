import type { Family } from "../net/address.ts";
import type { Backend, RulesetKind } from "./driver.ts";
import { hostPortRulesOfIptables, hostPortsInIptables } from "./host_ports_iptables.ts";
import {
  hostPortRulesOfNftables,
  hostPortTables,
  hostPortsInNftables,
} from "./host_ports_nftables.ts";
import { dnatChain, hostPortChain, hostPortTag } from "./names.ts";
import type { Digest } from "./names.ts";
import type { Container, ListedHostPort, PortForward } from "./port_forward.ts";
import type { Ruleset } from "./ruleset.ts";

/**
 * The host ports of a container: those of its interfaces, or none for the owner alone.
 * @param entryHandles see {@link IptablesRules.entryHandles}.
 * @param maker "reference" for no more rules than the reference plugin makes.
 */
export function hostPortRuleset(
  container: Container,
  forwards: readonly PortForward[],
  digest: Digest,
  maker: "us" | "reference" = "us",
  entryHandles: Readonly<Partial<Record<Family, readonly bigint[]>>> = {},
): Ruleset {
  return {
    iptables: (family) => ({
      ...hostPortRulesOfIptables(container, forwards, family, digest),
      entryHandles: entryHandles[family] ?? [],
    }),
    nftables: (families) =>
      families.map((family) => hostPortRulesOfNftables(container, forwards, family, maker)),
  };
}

/**
 * What a container's rules are found by in a firewall. In nftables that is the id alone, as far as a
 * comment holds it: attachments of one container, to whatever network, have one owner there.
 */
export function hostPortOwner(
  backend: Backend,
  { network, containerId }: Container,
  digest: Digest,
): string {
  return backend === "iptables"
    ? hostPortChain(digest, network, containerId)
    : hostPortTag(containerId);
}

/** Where host ports are listed. */
export const hostPortKind: RulesetKind<ListedHostPort> = {
  ownersInIptables: hostPortsInIptables,
  nftables: [hostPortTables[4], hostPortTables[6]],
  ownersInNftables: hostPortsInNftables,
};

/** The owner of host ports that were listed: for removing all it has. */
export function listedHostPorts(backend: Backend, owner: string): Ruleset {
  const shared = { chains: [], rules: [] };
  return {
    iptables: () =>
      backend === "iptables"
        ? { table: "nat", chain: owner, oldChains: [], entryChain: dnatChain, rules: [], shared }
        : undefined,
    nftables: (families: readonly Family[]) =>
      backend === "iptables"
        ? []
        : families.map((family) => ({
            table: hostPortTables[family],
            comment: owner,
            tag: undefined,
            ownChains: [],
            rules: [],
          })),
  };
}

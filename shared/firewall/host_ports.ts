import type { RulesetKind } from "./driver.ts";
import { hostPortRulesOfIptables, hostPortsInIptables } from "./host_ports_iptables.ts";
import {
  hostPortRulesOfNftables,
  hostPortTables,
  hostPortsInNftables,
} from "./host_ports_nftables.ts";
import type { Digest } from "./names.ts";
import type { Container, ListedHostPorts, PortForward } from "./port_forward.ts";
import type { Ruleset } from "./ruleset.ts";

/**
 * The host ports of a container: those of its interfaces, or none for the owner alone.
 * @param maker "reference" for no more rules than the reference plugin makes.
 */
export function hostPortRuleset(
  of: Container,
  forwards: readonly PortForward[],
  digest: Digest,
  maker: "us" | "reference" = "us",
): Ruleset {
  return {
    iptables: (family) => hostPortRulesOfIptables(of, forwards, family, digest),
    nftables: (families) =>
      families.map((family) => hostPortRulesOfNftables(of, forwards, family, maker)),
  };
}

/** Where host ports are listed. In nftables the rules say no more than the container's id. */
export const hostPortKind: RulesetKind<ListedHostPorts> = {
  ownersInIptables: hostPortsInIptables,
  nftables: [hostPortTables[4], hostPortTables[6]],
  ownersInNftables: hostPortsInNftables,
};

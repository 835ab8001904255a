import type { Context } from "../../shared/cni/plugin.ts";
import type { Family } from "../../shared/net/address.ts";
import { requireAll } from "../../shared/preconditions/finding.ts";
import { noMarkChain } from "../../shared/preconditions/firewall.ts";
import type { PortmapConfig } from "./conf.ts";

const families: readonly Family[] = [4, 6];

/**
 * Checks that the chain of another program, which is to mark packets, exists.
 * @throws NotReady, Failure kernel
 */
export function requireMarkChain({ conf, firewall }: Context<PortmapConfig>): void {
  const { externalSetMarkChain: chain } = conf.options;
  if (chain === undefined) return;
  const missing = families.filter(
    (family) => !firewall.hasIptablesChain(family, "nat", chain, firewall.variant(family)),
  );
  // A node may have pods of only one family.
  if (missing.length === families.length) requireAll([noMarkChain(chain, missing)]);
}

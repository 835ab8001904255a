import type { Context } from "../../shared/cni/plugin.ts";
import type { Family } from "../../shared/net/address.ts";
import { requireAll } from "../../shared/preconditions/finding.ts";
import { noMarkChain } from "../../shared/preconditions/firewall.ts";
import type { PortmapConfig } from "./conf.ts";

const families: readonly Family[] = [4, 6];

/** Whether another program's chain that is to mark packets is there. @throws NotReady, Failure kernel */
export function requireMarkChain({ conf, firewall }: Context<PortmapConfig>): void {
  const { externalSetMarkChain: chain } = conf.options;
  if (chain === undefined) return;
  const missing = families.filter(
    (family) => !firewall.hasIptablesChain(family, "nat", chain, firewall.variant(family)),
  );
  // A node may have pods of one family alone.
  if (missing.length === families.length) requireAll([noMarkChain(chain, missing)]);
}

import { CniError, Code, joinErrors } from "../../shared/cni/error.ts";
import type { Kernel } from "../../shared/kernel/mod.ts";
import type { Family } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import {
  iptablesAdd,
  iptablesRemove,
  nftAdd,
  nftBase,
  nftList,
  nftRemove,
} from "../../shared/plan/masquerade.ts";
import type { Masquerade } from "../../shared/plan/masquerade.ts";
import type { BridgeConfig } from "./conf.ts";

const families: readonly Family[] = [4, 6];
/** Rounds of listing and deleting, each lost to another process that changed the same rules. */
const rounds = 3;

/**
 * Masquerades what a container sends out of its subnet: one transaction for each family.
 * @throws CniError Firewall, TryAgainLater
 */
export function addMasquerade(
  kernel: Kernel,
  conf: BridgeConfig,
  of: Masquerade,
  addresses: readonly Cidr[],
): void {
  const { firewall, sys } = kernel;
  const backend = conf.ipMasqBackend ?? (firewall.hasIptables() ? "iptables" : "nftables");
  if (backend === "nftables") {
    const rules = nftAdd(of, addresses, sys.sha512);
    // Nearly always the table is there, and to set it up again would empty and refill a chain.
    if (!firewall.nft(rules)) firewall.nft(nftBase + rules);
    return;
  }
  for (const family of families) {
    const own = addresses.filter(({ address }) => address.family === family);
    if (own.length > 0) firewall.restore(family, iptablesAdd(of, own, sys.sha512));
  }
}

/**
 * Takes a container's masquerading away, whichever backend and families made it: the config may
 * have changed since. It is found by the container's id, so neither its namespace nor its addresses
 * are asked for.
 * @throws CniError what could not be done, after all that could be.
 */
export function removeMasquerade(kernel: Kernel, of: Masquerade): void {
  const errors: CniError[] = [];
  for (const family of families) attempt(errors, () => removeIptables(kernel, of, family));
  attempt(errors, () => removeNft(kernel, of));
  if (errors.length > 0) throw joinErrors(errors);
}

function removeIptables({ firewall, sys }: Kernel, of: Masquerade, family: Family): boolean {
  const saved = firewall.save(family, "nat");
  const text = saved === undefined ? undefined : iptablesRemove(of, saved, sys.sha512);
  if (text !== undefined) firewall.restore(family, text);
  return true;
}

function removeNft({ firewall, sys }: Kernel, of: Masquerade): boolean {
  const listed = firewall.nftList(nftList);
  const commands = listed === undefined ? undefined : nftRemove(of, listed, sys.sha512);
  return commands === undefined || firewall.nft(commands);
}

/** Repeats what lost a race against another process: its listing was stale when it deleted. */
function attempt(errors: CniError[], action: () => boolean): void {
  for (let round = 1; ; round++) {
    try {
      if (action()) return;
    } catch (error) {
      if (!(error instanceof CniError) || error.code === Code.Internal) throw error;
      if (round < rounds && error.code === Code.Firewall) continue;
      errors.push(error);
      return;
    }
    if (round >= rounds) return;
  }
}

import { CniError, Code } from "../../shared/cni/error.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import type { Firewall } from "../../shared/firewall/firewall.ts";
import {
  addSpoofCheck,
  removeSpoofCheck,
  spoofBase,
  spoofChain,
  spoofComment,
  spoofJumps,
  spoofList,
  spoofTable,
} from "../../shared/firewall/spoof_check.ts";
import type { SpoofCheck } from "../../shared/firewall/spoof_check.ts";
import type { Drawn } from "./plan.ts";

/** Lets a container send with its own MAC alone. @throws CniError Firewall */
export function addSpoofRules(
  firewall: Firewall,
  of: SpoofCheck,
  drawn: Pick<Drawn, "hostVeth" | "containerMac">,
): void {
  // A DEL that was killed has left them, for a link that is gone.
  removeSpoofRules(firewall, of);
  if (firewall.nft(addSpoofCheck(of, drawn.hostVeth, drawn.containerMac))) return;
  throw new CniError(
    Code.Firewall,
    "Cannot set up macspoofchk: nftables has no bridge family on this node.",
    "Load the kernel's module nf_tables_bridge, or take macspoofchk out of the network config.",
  );
}

/**
 * Takes the rules away, if there are any: found by their comment, in one chain.
 * @throws CniError Firewall
 */
export function removeSpoofRules(firewall: Firewall, of: SpoofCheck): void {
  if (!firewall.hasChain("bridge", spoofTable, spoofChain(of))) return;
  const jumps = firewall
    .rules("bridge", spoofTable, spoofBase)
    .filter(({ comment }) => comment === spoofComment(of))
    .map(({ handle }) => handle);
  firewall.nft(removeSpoofCheck(spoofChain(of), jumps));
}

/**
 * Takes the rules away whose link is gone: a call was killed. They say nothing of a network, so
 * whether a container is valid in this one is no reason.
 * @throws CniError Firewall, Kernel
 */
export function collectSpoofRules({
  firewall,
  node: { host },
}: Pick<Context<unknown>, "node" | "firewall">): void {
  const listed = firewall.nftList(spoofList);
  const gone = spoofJumps(listed ?? "").filter(({ link }) => host.link(link) === undefined);
  for (const { chain, handle } of gone) firewall.nft(removeSpoofCheck(chain, [handle]));
}

/** Puts the rules back where something has flushed them. @returns whether they were missing. */
export function repairSpoofRules(
  firewall: Firewall,
  { containerId, ifname }: SpoofCheck,
  drawn: Pick<Drawn, "hostVeth" | "containerMac">,
  dryRun: boolean,
): boolean {
  const of = { containerId, ifname };
  const chain = spoofChain(of);
  const isThere =
    firewall.rules("bridge", spoofTable, chain).length > 0 &&
    firewall.rules("bridge", spoofTable, `${chain}-mac`).length > 1 &&
    firewall
      .rules("bridge", spoofTable, spoofBase)
      .some(({ comment }) => comment === spoofComment(of));
  if (isThere || dryRun) return !isThere;
  removeSpoofRules(firewall, of);
  addSpoofRules(firewall, of, drawn);
  return true;
}

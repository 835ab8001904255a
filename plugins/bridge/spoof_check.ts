import type { Context } from "../../shared/cni/plugin.ts";
import { driverOf } from "../../shared/firewall/drivers.ts";
import type { Firewall } from "../../shared/firewall/firewall.ts";
import {
  listedSpoofCheck,
  spoofCheckKind,
  spoofCheckRuleset,
} from "../../shared/firewall/spoof_check.ts";
import type { SpoofCheck } from "../../shared/firewall/spoof_check.ts";
import type { VethPair } from "./plan.ts";

type Ends = Pick<VethPair, "hostVeth" | "containerMac">;

/** Drops what a container sends with a MAC other than its own. @throws Failure firewall */
export function addSpoofRules(firewall: Firewall, spoofCheck: SpoofCheck, ends: Ends): void {
  // Left by a killed DEL, for a link that is gone.
  removeSpoofRules(firewall, spoofCheck);
  const driver = driverOf(firewall, "nftables");
  const wanted = [allowing(spoofCheck, ends)];
  if (!driver.add([], wanted)) driver.reconcile([], wanted);
}

function allowing(spoofCheck: SpoofCheck, { hostVeth, containerMac }: Ends) {
  return spoofCheckRuleset(spoofCheck, { link: hostVeth, mac: containerMac });
}

/** Removes the rules, if there are any. @throws Failure firewall */
export function removeSpoofRules(firewall: Firewall, spoofCheck: SpoofCheck): void {
  driverOf(firewall, "nftables").remove([], [spoofCheckRuleset(spoofCheck, undefined)]);
}

/**
 * Removes the rules whose link is gone, as after a killed call. They do not name a network, so it does
 * not matter whether a container is valid in this one.
 * @throws Failure firewall, kernel
 */
export function collectSpoofRules({
  firewall,
  node: { host },
}: Pick<Context<unknown>, "node" | "firewall">): void {
  const driver = driverOf(firewall, "nftables");
  const gone = driver.list([], spoofCheckKind).filter(({ link }) => host.link(link) === undefined);
  driver.remove([], gone.map(listedSpoofCheck));
}

/** Restores the rules after something has flushed them. @returns whether they were missing. */
export function repairSpoofRules(
  firewall: Firewall,
  { containerId, ifname }: SpoofCheck,
  ends: Ends,
  dryRun: boolean,
): boolean {
  const spoofCheck = { containerId, ifname };
  const driver = driverOf(firewall, "nftables");
  const isMissing = driver.missing(4, allowing(spoofCheck, ends)) !== undefined;
  if (isMissing && !dryRun) addSpoofRules(firewall, spoofCheck, ends);
  return isMissing;
}

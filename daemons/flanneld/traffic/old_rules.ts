import { formatCidr, parseCidr } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import { NetError } from "../../../shared/net/error.ts";
import { isWithin } from "../../../shared/net/subnets.ts";
import { multicast } from "./rules.ts";

/**
 * Whether a rule, as iptables-save prints it, is one that versions in Go have put into the built-in
 * chains, before flannel had chains of its own and its rules had comments.
 * @param networks those of all pods.
 */
export function isOldRule(rule: string, networks: readonly Cidr[]): boolean {
  return networks.some((network) => oldRules(network).includes(rule) || isReturn(rule, network));
}

function oldRules(network: Cidr): string[] {
  const all = formatCidr(network);
  const masqueraded = [
    `-s ${all} ! -d ${multicast[network.address.family]}`,
    `! -s ${all} -d ${all}`,
  ];
  return [
    ...["RETURN", "ACCEPT"].map((target) => `-A POSTROUTING -s ${all} -d ${all} -j ${target}`),
    ...["", " --random-fully"].flatMap((ports) =>
      masqueraded.map((match) => `-A POSTROUTING ${match} -j MASQUERADE${ports}`),
    ),
    `-A FORWARD -s ${all} -j ACCEPT`,
    `-A FORWARD -d ${all} -j ACCEPT`,
  ];
}

/** The rule for packets to the subnet that the node had then. */
function isReturn(rule: string, network: Cidr): boolean {
  const begin = `-A POSTROUTING ! -s ${formatCidr(network)} -d `;
  const end = " -j RETURN";
  if (!rule.startsWith(begin) || !rule.endsWith(end)) return false;
  try {
    return isWithin(parseCidr(rule.slice(begin.length, -end.length)), network);
  } catch (error) {
    if (error instanceof NetError) return false;
    throw error;
  }
}

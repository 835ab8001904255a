import type { Family } from "../../../shared/net/address.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";

/** What the rules of one family do. */
export interface TrafficRules {
  readonly family: Family;
  /** That of all pods. */
  readonly network: Cidr;
  /** This node's part of it. */
  readonly subnet: Cidr;
  /** Whether packets that leave the network get the node's address. */
  readonly masquerade: boolean;
  /** Whether masqueraded connections get random ports, so that two of them don't get the same. */
  readonly randomFully: boolean;
  /** Networks of this family that pods reach with their own address. */
  readonly unmasqueraded: readonly Cidr[];
  /** Whether forwarding to and from the network is accepted. */
  readonly forward: boolean;
}

/** What the rules of all families do. */
export type RuleSettings = Pick<
  TrafficRules,
  "masquerade" | "randomFully" | "unmasqueraded" | "forward"
>;

/** The rules for a subnet. */
export function rulesOf(
  { family, network, subnet }: Pick<TrafficRules, "family" | "network" | "subnet">,
  { masquerade, randomFully, unmasqueraded, forward }: RuleSettings,
): TrafficRules {
  return {
    ...{ family, network, subnet, masquerade, randomFully, forward },
    unmasqueraded: unmasqueraded.filter(({ address }) => address.family === family),
  };
}

/** kube-proxy's mark on packets that it masquerades itself. */
export const kubeProxyMark = 0x4000;

/** Multicast: never masqueraded. */
export const multicast = { 4: "224.0.0.0/4", 6: "ff00::/8" } as const;

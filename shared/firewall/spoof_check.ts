import type { RulesetKind } from "./driver.ts";
import {
  plainIfname,
  spoofCheckBaseChain,
  spoofCheckChain,
  spoofCheckComment,
  spoofCheckTable,
} from "./names.ts";
import type { NftablesTable, Ruleset } from "./ruleset.ts";

/**
 * A container may send with its own MAC alone: rules of nftables' bridge family. Pure. Table, chains
 * and comments are the reference plugin's. Each container has its own chains, so nothing is
 * looked for in the whole ruleset.
 */
export interface SpoofCheck {
  readonly containerId: string;
  readonly ifname: string;
}

const table: NftablesTable = {
  family: "bridge",
  name: spoofCheckTable,
  comment: undefined,
  chains: [
    {
      name: spoofCheckBaseChain,
      definition: "type filter hook prerouting priority -300 ; policy accept",
    },
  ],
  ownersChains: [spoofCheckBaseChain],
};

/** The frames that are let in: those from `mac`, by the host's link `link`. */
export interface AllowedSource {
  readonly link: string;
  readonly mac: string;
}

/** Lets only frames from the container's MAC in; without an allowed source, the owner alone. */
export function spoofCheckRuleset(
  { containerId, ifname }: SpoofCheck,
  allowed: AllowedSource | undefined,
): Ruleset {
  const chain = spoofCheckChain(containerId, ifname);
  const rules =
    allowed === undefined
      ? []
      : [
          {
            chain: spoofCheckBaseChain,
            rule: `iifname "${plainIfname(allowed.link)}" jump ${chain}`,
          },
          { chain, rule: `jump ${chain}-mac` },
          { chain: `${chain}-mac`, rule: `ether saddr ${allowed.mac} return` },
          { chain: `${chain}-mac`, rule: "drop" },
        ];
  return {
    iptables: () => undefined,
    nftables: () => [
      {
        table,
        comment: spoofCheckComment(containerId, ifname),
        tag: undefined,
        ownChains: [chain, `${chain}-mac`],
        rules,
      },
    ],
  };
}

/** A check that is there: the host's link that it is for, and its own chain. */
export interface ListedSpoofCheck {
  readonly link: string;
  readonly chain: string;
  readonly comment: string;
}

export const spoofCheckKind: RulesetKind<ListedSpoofCheck> = {
  nftables: [table],
  ownersInNftables(listing) {
    const jump = /^\s*iifname "([^"]+)" jump (cni-br-iface-[\w.-]+) comment "([^"]+)"/;
    return listing.split("\n").flatMap((line): ListedSpoofCheck[] => {
      const [, link, chain, comment] = jump.exec(line) ?? [];
      if (link === undefined || chain === undefined || comment === undefined) return [];
      return [{ link, chain, comment }];
    });
  },
};

/** The owner of a check that was listed: for removing it. */
export function listedSpoofCheck({ chain, comment }: ListedSpoofCheck): Ruleset {
  return {
    iptables: () => undefined,
    nftables: () => [
      { table, comment, tag: undefined, ownChains: [chain, `${chain}-mac`], rules: [] },
    ],
  };
}

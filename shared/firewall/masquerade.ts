import { formatAddress, widthOf } from "../net/address.ts";
import type { Family } from "../net/address.ts";
import { formatCidr, subnetOf } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import type { RulesetKind } from "./driver.ts";
import { quoted } from "./iptables_text.ts";
import {
  masqueradeChain,
  masqueradeChecksChain,
  masqueradeComment,
  masqueradeTable,
  masqueradeTag,
  masqueradeTagComment,
} from "./names.ts";
import type { Digest } from "./names.ts";
import { subnetText } from "./nftables_text.ts";
import type { IptablesRules, NftablesTable, Ruleset } from "./ruleset.ts";

/**
 * Masquerading of a container's traffic that leaves its subnet. Pure. Chains, rules and comments are
 * the reference plugins', so that either suite can remove what the other made.
 */
export interface Masquerade {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

const table: NftablesTable = {
  family: "inet",
  name: masqueradeTable,
  comment: "Masquerading for plugins from github.com/containernetworking/plugins",
  chains: [
    {
      name: masqueradeChecksChain,
      definition:
        'comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet"',
    },
    {
      name: "postrouting",
      definition: "type nat hook postrouting priority 100",
      rules: [
        "ip daddr 224.0.0.0/4 return",
        "ip6 daddr ff00::/8 return",
        `goto ${masqueradeChecksChain}`,
      ],
    },
  ],
  ownersChains: [masqueradeChecksChain],
};

/** Masquerades traffic of an interface with these addresses. */
export function masqueradeRuleset(
  masquerade: Masquerade,
  addresses: readonly Cidr[],
  digest: Digest,
): Ruleset {
  const { network, containerId, ifname } = masquerade;
  const tag = masqueradeTag(digest, network, ifname, containerId);
  const ownOf = (family: Family): Cidr[] =>
    addresses.filter(({ address }) => address.family === family);
  return {
    iptables: (family) => iptablesRules(masquerade, ownOf(family), family, digest),
    nftables: (families) => [
      {
        table,
        comment: masqueradeTagComment(tag, network, ifname, containerId),
        tag,
        ownChains: [],
        rules: families.flatMap(ownOf).map((address) => {
          const ip = address.address.family === 4 ? "ip" : "ip6";
          const podAddress = formatAddress(address.address);
          return {
            chain: masqueradeChecksChain,
            rule: `${ip} saddr ${podAddress} ${ip} daddr != ${subnetText(address)} masquerade`,
          };
        }),
      },
    ],
  };
}

function iptablesRules(
  { network, containerId }: Masquerade,
  addresses: readonly Cidr[],
  family: Family,
  digest: Digest,
): IptablesRules {
  const chain = masqueradeChain(digest, network, containerId);
  const comment = `-m comment --comment ${quoted(masqueradeComment(network, containerId))}`;
  const multicast = family === 6 ? "ff00::/8" : "224.0.0.0/4";
  const rules = [
    // All of the subnets before what is for the rest of the world.
    ...addresses.map((address) => ({
      chain,
      rule: `-d ${formatCidr(subnetOf(address))} ${comment} -j ACCEPT`,
      first: true,
    })),
    { chain, rule: `! -d ${multicast} ${comment} -j MASQUERADE` },
    ...addresses.map(({ address }) => ({
      chain: "POSTROUTING",
      rule: `-s ${formatAddress(address)}/${widthOf(family)} ${comment} -j ${chain}`,
    })),
  ];
  const shared = { chains: [], rules: [] };
  return {
    table: "nat",
    chain,
    oldChains: [],
    entryChain: "POSTROUTING",
    rules: addresses.length === 0 ? [] : rules,
    shared,
  };
}

/** Whose masquerading a rule is, as far as it says. */
export interface MasqueradeOwner {
  readonly network: string | undefined;
  /** Cut where the firewall allows no longer comment. */
  readonly containerId: string | undefined;
  /** What the rules of nftables are found by. */
  readonly tag: string | undefined;
}

export const masqueradeKind: RulesetKind<MasqueradeOwner> = {
  ownersInIptables(saved) {
    const rule = / --comment "name: \\"([^"\\]+)\\" id: \\"([^"\\]+)\\"" -j CNI-[0-9a-f]{24}$/;
    const found = saved.split("\n").flatMap((line): MasqueradeOwner[] => {
      const [, network, containerId] = rule.exec(line) ?? [];
      return containerId === undefined ? [] : [{ network, containerId, tag: undefined }];
    });
    return distinct(found, ({ network, containerId }) => `${network} ${containerId}`);
  },
  nftables: [table],
  ownersInNftables(listing) {
    const comment =
      / comment "([0-9a-f]{16}-[0-9a-f]{16})(?:, net: ([^,"]+), if: [^,"]+, id: ([^"]+))?/;
    const found = listing.split("\n").flatMap((line): MasqueradeOwner[] => {
      const [, tag, network, containerId] = comment.exec(line) ?? [];
      return tag === undefined ? [] : [{ network, containerId, tag }];
    });
    return distinct(found, ({ tag }) => tag ?? "");
  },
};

function distinct<T>(all: readonly T[], keyOf: (item: T) => string): T[] {
  return [...new Map(all.map((item) => [keyOf(item), item])).values()];
}

/** The owner of masquerading that was listed: for removing it. */
export function listedMasquerade(
  { network = "", containerId = "", tag }: MasqueradeOwner,
  digest: Digest,
): Ruleset {
  const masquerade = { network, containerId, ifname: "" };
  return {
    iptables: (family) => iptablesRules(masquerade, [], family, digest),
    nftables: () =>
      tag === undefined ? [] : [{ table, comment: tag, tag, ownChains: [], rules: [] }],
  };
}

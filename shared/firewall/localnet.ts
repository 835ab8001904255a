import type { RulesetKind } from "./driver.ts";
import { hostPortTable, localnetChain, localnetComment, localnetLinkChain } from "./names.ts";
import type { Digest } from "./names.ts";
import type { IptablesRules, NftablesTable, Ruleset } from "./ruleset.ts";

/**
 * Drops what comes in by a link from or for 127.0.0.0/8. With route_localnet on, which the node's own
 * access to host ports by 127.0.0.1 needs, the kernel would hand such packets to services that listen
 * there because nobody else should reach them (CVE-2020-8558), or that trust who seems to be local.
 * Pure.
 *
 * The rules are asked before NAT: no packet on the wire has such an address, and the answers of a pod
 * to the node still bear the node's address then.
 */
const loopback = "127.0.0.0/8";

const table: NftablesTable = {
  family: 4,
  name: hostPortTable,
  comment: "CNI portmap plugin",
  chains: [{ name: localnetChain, definition: "type filter hook prerouting priority -300" }],
  ownersChains: [localnetChain],
};

/** The rules for a link. */
export function localnetRuleset(link: string, digest: Digest): Ruleset {
  return {
    iptables: (family) => (family === 4 ? iptablesRules(link, digest) : undefined),
    nftables: (families) =>
      families.includes(4)
        ? [
            {
              table,
              comment: localnetComment(link),
              tag: undefined,
              ownChains: [],
              rules: ["saddr", "daddr"].map((end) => ({
                chain: localnetChain,
                rule: `iifname "${link}" ip ${end} ${loopback} drop`,
              })),
            },
          ]
        : [],
  };
}

function iptablesRules(link: string, digest: Digest): IptablesRules {
  const chain = localnetLinkChain(digest, link);
  return {
    table: "mangle",
    chain,
    oldChains: [],
    entryChain: "PREROUTING",
    rules: [
      { chain, rule: `-s ${loopback} -j DROP` },
      { chain, rule: `-d ${loopback} -j DROP` },
      {
        chain: "PREROUTING",
        rule: `-i ${link} -m comment --comment "CNI portfwd localnet" -j ${chain}`,
      },
    ],
    shared: { chains: [], rules: [] },
  };
}

/** The links that such rules are for. */
export const localnetKind: RulesetKind<string> = {
  iptablesTable: "mangle",
  ownersInIptables(saved) {
    const rule = /^-A PREROUTING -i (\S+) .* -j CNI-LN-[0-9a-f]{21}$/;
    return saved.split("\n").flatMap((line) => rule.exec(line)?.[1] ?? []);
  },
  nftables: [table],
  ownersInNftables(listing) {
    const rule = /^\t\tiifname "([^"]+)" ip [sd]addr 127\.0\.0\.0\/8 drop comment "localnet /;
    return listing.split("\n").flatMap((line) => rule.exec(line)?.[1] ?? []);
  },
};

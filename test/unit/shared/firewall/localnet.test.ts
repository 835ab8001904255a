import { describe, expect, it } from "vitest";

import { addLines, removeListedLines } from "../../../../shared/firewall/iptables_text.ts";
import { localnetKind, localnetRuleset } from "../../../../shared/firewall/localnet.ts";
import { addCommands, baseCommands } from "../../../../shared/firewall/nftables_text.ts";
import type { IptablesRules, NftablesRules } from "../../../../shared/firewall/ruleset.ts";
import { digest } from "./forwards.ts";

const own = localnetRuleset("cni0", digest);
const chain = `CNI-LN-${digest("cni0").slice(0, 21)}`;

function inIptables(): IptablesRules {
  const rules = own.iptables(4);
  if (rules === undefined) throw new Error("there are none");
  return rules;
}

function inNftables(): NftablesRules {
  const [rules] = own.nftables([4, 6]);
  if (rules === undefined) throw new Error("there are none");
  return rules;
}

/** As iptables-save writes it. */
const saved = `*mangle
:PREROUTING ACCEPT [0:0]
:${chain} - [0:0]
-A PREROUTING -i cni9 -j OTHER
-A PREROUTING -i cni0 -m comment --comment "CNI portfwd localnet" -j ${chain}
-A ${chain} -s 127.0.0.0/8 -j DROP
-A ${chain} -d 127.0.0.0/8 -j DROP
COMMIT
`;

/** As nft lists it. */
const listing = `table ip cni_hostport {
\tchain localnet { # handle 1
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tiifname "cni9" ip daddr 10.0.0.1 drop comment "localnet cni9" # handle 2
\t\tiifname "cni0" ip saddr 127.0.0.0/8 drop comment "localnet cni0" # handle 3
\t\tiifname "cni0" ip daddr 127.0.0.0/8 drop comment "localnet cni0" # handle 4
\t}
}
`;

describe("the rules of a link", () => {
  it("drop what comes in from or for 127.0.0.0/8, before NAT (iptables)", () => {
    expect(inIptables().table).toBe("mangle");
    expect(addLines(inIptables()).toSorted()).toEqual(
      saved
        .split("\n")
        .filter((line) => line.includes(chain))
        .toSorted(),
    );
    expect(chain).toHaveLength(28);
  });

  it("drop what comes in from or for 127.0.0.0/8, before NAT (nftables)", () => {
    expect([...baseCommands(inNftables().table), ...addCommands(inNftables())]).toEqual([
      'add table ip cni_hostport { comment "CNI portmap plugin" ; }',
      "add chain ip cni_hostport localnet { type filter hook prerouting priority -300 ; }",
      'add rule ip cni_hostport localnet iifname "cni0" ip saddr 127.0.0.0/8 drop comment "localnet cni0"',
      'add rule ip cni_hostport localnet iifname "cni0" ip daddr 127.0.0.0/8 drop comment "localnet cni0"',
    ]);
  });

  it("are for IPv4 alone", () => {
    expect(own.iptables(6)).toBeUndefined();
    expect(own.nftables([6])).toEqual([]);
  });

  it("are removed as they are listed", () => {
    expect(removeListedLines(inIptables(), saved)).toEqual([
      `:${chain} - [0:0]`,
      `-D PREROUTING -i cni0 -m comment --comment "CNI portfwd localnet" -j ${chain}`,
      `-X ${chain}`,
    ]);
  });

  it("say whose they are", () => {
    expect(localnetKind.ownersInIptables?.(saved, 4)).toEqual(["cni0"]);
    expect(new Set(localnetKind.ownersInNftables(listing))).toEqual(new Set(["cni0"]));
  });
});

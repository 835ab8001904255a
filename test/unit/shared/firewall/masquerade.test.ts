import { describe, expect, it, test } from "vitest";

import {
  addLines,
  missingLines,
  removeListedLines,
} from "../../../../shared/firewall/iptables_text.ts";
import {
  listedMasquerade,
  masqueradeKind,
  masqueradeRuleset,
} from "../../../../shared/firewall/masquerade.ts";
import { masqueradeTag } from "../../../../shared/firewall/names.ts";
import { addCommands, missingRule } from "../../../../shared/firewall/nftables_text.ts";
import type { IptablesRules, NftablesRules, Ruleset } from "../../../../shared/firewall/ruleset.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import { digest } from "./forwards.ts";

const attachment = { network: "net", containerId: "c1", ifname: "eth0" };

/** What the reference bridge 1.1.1 left in the nat table for the same network, id and address. */
const reference = `*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-623e1c388032b20529218ecc - [0:0]
-A POSTROUTING -s 10.244.1.2/32 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j CNI-623e1c388032b20529218ecc
-A POSTROUTING -s 10.9.9.9/32 -j CNI-000000000000000000000000
-A CNI-623e1c388032b20529218ecc -d 10.244.1.0/24 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j ACCEPT
-A CNI-623e1c388032b20529218ecc ! -d 224.0.0.0/4 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j MASQUERADE
COMMIT
`;

const ruleset = (...addresses: readonly string[]) =>
  masqueradeRuleset(attachment, addresses.map(parseCidr), digest);
const own = ruleset("10.244.1.2/24");

function inIptables(given: Ruleset, family: 4 | 6 = 4): IptablesRules {
  const rules = given.iptables(family);
  if (rules === undefined) throw new Error("there are none");
  return rules;
}

function inNftables(given: Ruleset): NftablesRules {
  const [rules] = given.nftables([4, 6]);
  if (rules === undefined) throw new Error("there are none");
  return rules;
}

describe("in iptables", () => {
  const lines = reference.split("\n");

  it("has the reference's chain, rules and comments", () => {
    const chain = "CNI-623e1c388032b20529218ecc";
    expect(addLines(inIptables(own)).toSorted()).toEqual(
      lines.filter((line) => line.includes(chain)).toSorted(),
    );
  });

  it("keeps the traffic inside of every subnet from being masqueraded", () => {
    const added = addLines(inIptables(ruleset("10.1.2.2/24", "10.9.0.2/16")));
    const targets = added.flatMap((line) => / -j (\w+)$/.exec(line)?.[1] ?? []);
    expect(targets).toEqual(["ACCEPT", "ACCEPT", "MASQUERADE"]);
  });

  it("has rules for the addresses of a family, or none", () => {
    const dualStack = ruleset("10.1.2.2/24", "fd00::2/64");
    expect(addLines(inIptables(dualStack, 6)).join("\n")).toContain("-s fd00::2/128 ");
    expect(addLines(inIptables(dualStack, 6)).join("\n")).toContain("! -d ff00::/8 ");
    expect(inIptables(own, 6).rules).toEqual([]);
  });

  it("is removed with what leads to the chain, and nothing of others", () => {
    expect(removeListedLines(inIptables(ruleset()), reference)).toEqual([
      ":CNI-623e1c388032b20529218ecc - [0:0]",
      '-D POSTROUTING -s 10.244.1.2/32 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j CNI-623e1c388032b20529218ecc',
      "-X CNI-623e1c388032b20529218ecc",
    ]);
    const unlisted = masqueradeRuleset({ ...attachment, containerId: "c2" }, [], digest);
    expect(removeListedLines(inIptables(unlisted), reference)).toEqual([]);
  });

  it("misses nothing of what the reference or we have made", () => {
    expect(missingLines(inIptables(own), reference)).toEqual([]);
  });

  it.each(lines.filter((line) => line.includes("c1")))("misses %s, and nothing else", (line) => {
    const saved = lines.filter((candidate) => candidate !== line).join("\n");
    // What keeps the subnet from being masqueraded comes before what masquerades.
    const expected = line.endsWith("ACCEPT") ? line.replace("-A", "-I") : line;
    expect(missingLines(inIptables(own), saved)).toEqual([expected]);
  });

  it("misses the chain where it is gone", () => {
    expect(missingLines(inIptables(own), "*nat\nCOMMIT\n").slice(0, 2)).toEqual([
      ":CNI-623e1c388032b20529218ecc - [0:0]",
      '-I CNI-623e1c388032b20529218ecc -d 10.244.1.0/24 -m comment --comment "name: \\"net\\" id: \\"c1\\"" -j ACCEPT',
    ]);
  });

  it("is listed by network and container, each once", () => {
    const otherNetwork = reference.replaceAll('\\"net\\"', '\\"other\\"').replaceAll("c1", "c9");
    expect(masqueradeKind.ownersInIptables?.(reference + reference + otherNetwork, 4)).toEqual([
      { network: "net", containerId: "c1", tag: undefined },
      { network: "other", containerId: "c9", tag: undefined },
    ]);
    const [first] = masqueradeKind.ownersInIptables?.(reference, 4) ?? [];
    expect(first && inIptables(listedMasquerade(first, digest)).chain).toBe(inIptables(own).chain);
  });
});

/** What `nft -a list table` says. */
function listing(rule: string, to = "goto masq_checks"): string {
  return `table inet cni_plugins_masquerade {
\tchain masq_checks { # handle 2
\t\t${rule} # handle 7
\t}
\tchain postrouting { # handle 3
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\tip daddr 224.0.0.0/4 return # handle 4
\t\tip6 daddr ff00::/8 return # handle 5
\t\t${to} # handle 6
\t}
}`;
}

/** A ruleset's first rule, as nft lists it. */
function textOf(given: Ruleset): string {
  return addCommands(inNftables(given))[0]?.split(" masq_checks ")[1] ?? "";
}

describe("in nftables", () => {
  const tag = masqueradeTag(digest, "net", "eth0", "c1");

  it("has a rule for each address, whatever its family, with the tag first in its comment", () => {
    const rules = addCommands(inNftables(ruleset("10.1.2.2/24", "fd00::2/64")));
    const comment = `comment "${tag}, net: net, if: eth0, id: c1"`;
    expect(rules).toEqual([
      `add rule inet cni_plugins_masquerade masq_checks ip saddr 10.1.2.2 ip daddr != 10.1.2.0/24 masquerade ${comment}`,
      `add rule inet cni_plugins_masquerade masq_checks ip6 saddr fd00::2 ip6 daddr != fd00::/64 masquerade ${comment}`,
    ]);
  });

  it("misses nothing where the rules are, and what leads there", () => {
    const { rules, ...rest } = inNftables(own);
    expect(missingRule({ ...rest, rules }, listing(textOf(own)))).toBeUndefined();
  });

  it("misses its rule, another interface's being no good, and what leads there", () => {
    const otherInterface = masqueradeRuleset(
      { ...attachment, ifname: "eth1" },
      [parseCidr("10.244.1.2/24")],
      digest,
    );
    expect(missingRule(inNftables(own), listing(textOf(otherInterface)))).toContain(
      "in chain masq_checks",
    );
    expect(missingRule(inNftables(own), listing(textOf(own), "accept"))).toBe(
      "goto masq_checks in chain postrouting",
    );
    expect(missingRule(inNftables(own), "")).toBe(
      "ip daddr 224.0.0.0/4 return in chain postrouting",
    );
  });

  it("is listed by its tag, whatever is cut off from the comment", () => {
    const long = "0123456789abcdef".repeat(12);
    const network = masqueradeRuleset(
      { ...attachment, network: long },
      [parseCidr("10.244.1.2/24")],
      digest,
    );
    const owners = masqueradeKind.ownersInNftables(
      listing(`${textOf(own)} # handle 8\n\t\t${textOf(network)}`),
    );
    expect(owners).toEqual([
      { network: "net", containerId: "c1", tag },
      {
        network: undefined,
        containerId: undefined,
        tag: masqueradeTag(digest, long, "eth0", "c1"),
      },
    ]);
    const [first] = owners;
    expect(first && inNftables(listedMasquerade(first, digest))).toMatchObject({ tag, rules: [] });
  });
});

test("an owner without a tag is looked for in iptables alone", () => {
  const owner = { network: "net", containerId: "c1", tag: undefined };
  expect(listedMasquerade(owner, digest).nftables([4, 6])).toEqual([]);
});

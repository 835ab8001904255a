import { describe, expect, it } from "vitest";

import { plainIfname } from "../../../../shared/firewall/names.ts";
import { addCommands, removeChainsCommands } from "../../../../shared/firewall/nftables_text.ts";
import type { NftablesRules, Ruleset } from "../../../../shared/firewall/ruleset.ts";
import {
  listedSpoofCheck,
  spoofCheckKind,
  spoofCheckRuleset,
} from "../../../../shared/firewall/spoof_check.ts";

const allowed = { link: "veth1", mac: "02:00:00:00:00:01" };

function rulesOf(ruleset: Ruleset): NftablesRules {
  const [rules] = ruleset.nftables([]);
  if (rules === undefined) throw new Error("there are none");
  return rules;
}

function commandsFor(ifname: string): readonly string[] {
  return addCommands(rulesOf(spoofCheckRuleset({ containerId: "pod1", ifname }, allowed)));
}

describe("an interface's name in nft's commands", () => {
  it("is as it is where nothing in it means anything", () => {
    expect(plainIfname("net1.7_a-b")).toBe("net1.7_a-b");
  });

  it.each(['a"b', "a;b", "a{b}", "a\\b", "a$b", "ä", "a#b"])(
    "is harmless if it is %j",
    (ifname) => {
      expect(plainIfname(ifname)).toMatch(/^[\w.-]+$/);
      expect(plainIfname(ifname)).not.toBe(plainIfname("ab"));
      expect(commandsFor(ifname)).toEqual(commandsFor(plainIfname(ifname)));
    },
  );
});

describe("the rules of macspoofchk", () => {
  it("let only the container's MAC in", () => {
    const comment = 'comment "macspoofchk-pod1-eth0"';
    expect(commandsFor("eth0")).toEqual([
      "add chain bridge nat cni-br-iface-pod1-eth0",
      "add chain bridge nat cni-br-iface-pod1-eth0-mac",
      `add rule bridge nat PREROUTING iifname "veth1" jump cni-br-iface-pod1-eth0 ${comment}`,
      `add rule bridge nat cni-br-iface-pod1-eth0 jump cni-br-iface-pod1-eth0-mac ${comment}`,
      `add rule bridge nat cni-br-iface-pod1-eth0-mac ether saddr 02:00:00:00:00:01 return ${comment}`,
      `add rule bridge nat cni-br-iface-pod1-eth0-mac drop ${comment}`,
    ]);
  });

  it("are none for the owner alone, and of no use in iptables", () => {
    const owner = spoofCheckRuleset({ containerId: "pod1", ifname: "eth0" }, undefined);
    expect(rulesOf(owner).rules).toEqual([]);
    expect(owner.iptables(4)).toBeUndefined();
  });

  it("are listed by the link that they are for", () => {
    const listed = `table bridge nat {
	chain PREROUTING { # handle 1
		type filter hook prerouting priority -300; policy accept;
		iifname "veth1" jump cni-br-iface-pod1-eth0 comment "macspoofchk-pod1-eth0" # handle 4
		iifname "veth2" drop # handle 5
	}
}`;
    const [found, ...more] = spoofCheckKind.ownersInNftables(listed);
    expect(more).toEqual([]);
    expect(found).toEqual({
      link: "veth1",
      chain: "cni-br-iface-pod1-eth0",
      comment: "macspoofchk-pod1-eth0",
    });
    const { table, ownChains } = rulesOf(
      listedSpoofCheck(found ?? { link: "", chain: "", comment: "" }),
    );
    // The chain that leads to the other one goes first.
    expect(removeChainsCommands(table, ownChains)).toEqual([
      "flush chain bridge nat cni-br-iface-pod1-eth0",
      "delete chain bridge nat cni-br-iface-pod1-eth0",
      "flush chain bridge nat cni-br-iface-pod1-eth0-mac",
      "delete chain bridge nat cni-br-iface-pod1-eth0-mac",
    ]);
  });
});

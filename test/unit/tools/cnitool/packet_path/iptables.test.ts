/** What iptables does with a pod's packets, by rules as Docker, kube-proxy, flannel and ufw make them. */
import { describe, expect, it } from "vitest";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { iptablesRuleset } from "../../../../../tools/cnitool/packet_path/iptables.ts";
import { walk } from "../../../../../tools/cnitool/packet_path/walk.ts";
import type { Packet } from "../../../../../tools/cnitool/packet_path/walk.ts";

const outbound: Packet = {
  family: 4,
  in: "cni0",
  out: "eth0",
  src: parseAddress("10.244.1.254"),
  dst: parseAddress("1.1.1.1"),
};
const inbound: Packet = {
  ...outbound,
  in: "eth0",
  out: "cni0",
  src: outbound.dst,
  dst: outbound.src,
};
const toPod: Packet = { ...outbound, out: "flannel.1", dst: parseAddress("10.244.2.2") };

function verdict(rules: readonly string[], packet: Packet = outbound, policy = "ACCEPT"): string {
  const chains = [...new Set(rules.map((rule) => rule.split(" ")[1]))].filter(
    (chain) => chain !== "FORWARD",
  );
  const saved = [
    "*filter",
    `:FORWARD ${policy} [0:0]`,
    ...chains.map((chain) => `:${chain} - [0:0]`),
    ...rules,
    "COMMIT",
  ].join("\n");
  const ruleset = iptablesRuleset(saved, "FORWARD");
  if (ruleset === undefined) throw new Error("no FORWARD");
  return walk(ruleset, packet).verdict;
}

const DOCKER = [
  "-A FORWARD -j DOCKER-USER",
  "-A FORWARD -j DOCKER-ISOLATION-STAGE-1",
  "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
  "-A FORWARD -o docker0 -j DOCKER",
  "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
  "-A FORWARD -i docker0 -o docker0 -j ACCEPT",
  "-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2",
  "-A DOCKER-ISOLATION-STAGE-1 -j RETURN",
  "-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP",
  "-A DOCKER-USER -j RETURN",
];

const KUBE = [
  '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
  "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
  '-A KUBE-FORWARD -m comment --comment "marked for masquerading" -m mark --mark 0x4000/0x4000 -j ACCEPT',
  "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
];

const FLANNEL = [
  '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
  '-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
  '-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
];

describe("FORWARD", () => {
  it.each<[string, readonly string[], string, string]>([
    ["Docker", DOCKER, "DROP", "drop"],
    ["Docker, with flanneld's rules", [...DOCKER, ...KUBE, ...FLANNEL], "DROP", "accept"],
    ["kube-proxy alone", KUBE, "ACCEPT", "accept"],
    ["kube-proxy with a policy that drops", KUBE, "DROP", "drop"],
    ["a REJECT at the end", [...KUBE, "-A FORWARD -j REJECT"], "ACCEPT", "drop"],
    ["a REJECT after flanneld's rules", [...FLANNEL, "-A FORWARD -j REJECT"], "ACCEPT", "accept"],
    ["a DROP of another link", ["-A FORWARD -i eth1 -j DROP"], "ACCEPT", "accept"],
    ["a DROP of all links but one", ["-A FORWARD ! -i eth0 -j DROP"], "ACCEPT", "drop"],
    ["a DROP of links by a pattern", ["-A FORWARD -i cni+ -j DROP"], "ACCEPT", "drop"],
    ["a DROP of another source", ["-A FORWARD -s 192.168.0.0/16 -j DROP"], "ACCEPT", "accept"],
    ["a DROP of one pod", ["-A FORWARD -s 10.244.1.7/32 -j DROP"], "ACCEPT", "accept"],
    ["a DROP of some ports", ["-A FORWARD -p tcp -m tcp --dport 25 -j DROP"], "ACCEPT", "accept"],
    [
      "an ACCEPT of some ports",
      ["-A FORWARD -p tcp -m tcp --dport 443 -j ACCEPT"],
      "DROP",
      "unknown",
    ],
    ["an ACCEPT by a set", ["-A FORWARD -m set --match-set ok src -j ACCEPT"], "DROP", "unknown"],
    ["an ACCEPT by another mark", ["-A FORWARD -m mark --mark 0x1 -j ACCEPT"], "DROP", "unknown"],
    ["an ACCEPT of ICMP", ["-A FORWARD -p icmp -j ACCEPT"], "DROP", "drop"],
    [
      "an ACCEPT that a chain may leave out",
      ["-A FORWARD -j X", "-A X -m set --match-set no src -j RETURN", "-A X -j DROP"],
      "ACCEPT",
      "accept",
    ],
    [
      "a DROP after a chain that only logs",
      ["-A FORWARD -j X", '-A X -j LOG --log-prefix "-j ACCEPT "', "-A FORWARD -j DROP"],
      "ACCEPT",
      "drop",
    ],
    [
      "a queue to another program",
      ["-A FORWARD -j NFQUEUE --queue-num 0", "-A FORWARD -j DROP"],
      "ACCEPT",
      "unknown",
    ],
    [
      "a goto, after which the chain is left",
      ["-A FORWARD -g X", "-A FORWARD -j ACCEPT", "-A X -i lo -j ACCEPT"],
      "DROP",
      "drop",
    ],
    [
      "what the node itself is sent",
      ["-A FORWARD -m addrtype --dst-type LOCAL -j ACCEPT"],
      "DROP",
      "drop",
    ],
    ["a loop", ["-A FORWARD -j X", "-A X -j X"], "DROP", "unknown"],
  ])("%s", (_, rules, policy, expected) => {
    expect(verdict(rules, outbound, policy)).toBe(expected);
  });

  it("tells what the node itself is sent", () => {
    const rules = ["-A FORWARD -m addrtype --dst-type LOCAL -j DROP"];
    expect(verdict(rules, { ...outbound, isToNode: true })).toBe("drop");
    expect(verdict(rules)).toBe("accept");
  });

  it("tells what comes in from what goes out", () => {
    const rules = ["-A FORWARD -i cni0 -j ACCEPT"];
    expect(verdict(rules, outbound, "DROP")).toBe("accept");
    expect(verdict(rules, inbound, "DROP")).toBe("drop");
  });

  it("names the rule that decides", () => {
    const ruleset = iptablesRuleset(":FORWARD ACCEPT [0:0]\n-A FORWARD -j DROP", "FORWARD");
    expect(ruleset && walk(ruleset, outbound)).toEqual({
      verdict: "drop",
      chain: "FORWARD",
      rule: "-A FORWARD -j DROP",
    });
  });

  it("is not there in a listing without it", () => {
    expect(iptablesRuleset("", "FORWARD")).toBeUndefined();
  });
});

/** What becomes of a packet to a pod of another node. */
function masquerade(...rules: readonly string[]): string {
  const saved = [":POSTROUTING ACCEPT [0:0]", ...rules].join("\n");
  const ruleset = iptablesRuleset(saved, "POSTROUTING");
  return ruleset === undefined ? "" : walk(ruleset, toPod).verdict;
}

describe("POSTROUTING", () => {
  it.each<[string, readonly string[], string]>([
    ["everything", ["-A POSTROUTING -j MASQUERADE"], "masquerade"],
    ["all that pods send", ["-A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE"], "masquerade"],
    [
      "all but to pods",
      ["-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE"],
      "accept",
    ],
    ["by the uplink alone", ["-A POSTROUTING -o eth0 -j MASQUERADE"], "accept"],
    ["another source address", ["-A POSTROUTING -j SNAT --to-source 192.0.2.1"], "masquerade"],
    ["Docker's networks", ["-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"], "accept"],
    [
      "flanneld's rules before",
      [
        "-A POSTROUTING -j FLANNEL-POSTRTG",
        "-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN",
        "-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
      ],
      "accept",
    ],
    [
      "kube-proxy's rules",
      [
        "-A POSTROUTING -j KUBE-POSTROUTING",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
      ],
      "accept",
    ],
  ])("masquerades %s", (_, rules, expected) => {
    expect(masquerade(...rules)).toBe(expected);
  });
});

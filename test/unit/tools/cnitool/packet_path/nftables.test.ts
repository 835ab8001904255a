/** What nftables does with a pod's packets, by the JSON that nft lists. */
import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "../../../../../shared/base/json.ts";
import { parseAddress } from "../../../../../shared/net/address.ts";
import {
  baseChains,
  chainDevices,
  nftRuleset,
} from "../../../../../tools/cnitool/packet_path/nftables.ts";
import { walk } from "../../../../../tools/cnitool/packet_path/walk.ts";
import type { Packet } from "../../../../../tools/cnitool/packet_path/walk.ts";

const outbound: Packet = {
  family: 4,
  in: "cni0",
  out: "eth0",
  src: parseAddress("10.244.1.254"),
  dst: parseAddress("1.1.1.1"),
};
const outbound6: Packet = {
  ...outbound,
  family: 6,
  src: parseAddress("fd00::1"),
  dst: parseAddress("2001:db8::1"),
};

const meta = (key: string): Json => ({ meta: { key } });
const payload = (protocol: string, field: string): Json => ({ payload: { protocol, field } });
const fib = (...flags: string[]): Json => ({ fib: { result: "type", flags } });
const ct = (key: string): Json => ({ ct: { key } });
const match = (left: Json, right: Json, op = "=="): Json => ({ match: { op, left, right } });
const prefix = (addr: string, len: number): Json => ({ prefix: { addr, len } });
const accept: Json = { accept: null };
const drop: Json = { drop: null };

/** The verdict of a chain's rules, with those of a chain "other". */
function verdict(
  rules: readonly (readonly Json[])[],
  policy: "accept" | "drop" = "accept",
  packet = outbound,
  otherRules: readonly (readonly Json[])[] = [],
): string {
  const entries = [
    ...rules.map((expr) => ({ chain: "forward", expr })),
    ...otherRules.map((expr) => ({ chain: "other", expr })),
  ].map((rule, at): JsonObject => ({ rule: { family: "inet", table: "t", handle: at, ...rule } }));
  const base = { family: "inet", table: "t", name: "forward", policy };
  return walk(nftRuleset(base, { nftables: entries }), packet).verdict;
}

describe("a chain", () => {
  it.each<[string, readonly (readonly Json[])[], "accept" | "drop", string]>([
    ["with a policy alone", [], "drop", "drop"],
    [
      "that accepts what is known",
      [[match(ct("state"), ["established", "related"], "in"), accept]],
      "drop",
      "drop",
    ],
    [
      "that accepts what is new",
      [[match(ct("state"), ["new", "established"], "in"), accept]],
      "drop",
      "accept",
    ],
    ["that accepts by link", [[match(meta("iifname"), "cni0"), accept]], "drop", "accept"],
    [
      "that accepts by links",
      [[match(meta("oifname"), { set: ["eth0", "eth1"] }), accept]],
      "drop",
      "accept",
    ],
    ["that accepts by a pattern", [[match(meta("iifname"), "cni*"), accept]], "drop", "accept"],
    ["that accepts by a named set", [[match(meta("iifname"), "@lan"), accept]], "drop", "unknown"],
    ["that accepts another link", [[match(meta("iifname"), "eth0"), accept]], "drop", "drop"],
    [
      "that accepts by subnet",
      [[match(payload("ip", "saddr"), prefix("10.244.0.0", 16)), accept]],
      "drop",
      "accept",
    ],
    [
      "that accepts another subnet",
      [[match(payload("ip", "saddr"), prefix("10.0.0.0", 16)), accept]],
      "drop",
      "drop",
    ],
    [
      "that accepts IPv6",
      [[match(payload("ip6", "saddr"), prefix("fd00::", 8)), accept]],
      "drop",
      "drop",
    ],
    [
      "that accepts all but one",
      [[match(payload("ip", "daddr"), "192.0.2.1", "!="), accept]],
      "drop",
      "accept",
    ],
    ["that accepts a port", [[match(payload("tcp", "dport"), 443), accept]], "drop", "unknown"],
    ["that accepts some", [[{ limit: { rate: 1, per: "second" } }, accept]], "drop", "unknown"],
    [
      "that counts and drops",
      [[{ counter: { packets: 0, bytes: 0 } }, { log: null }, drop]],
      "accept",
      "drop",
    ],
    ["that rejects", [[{ reject: { type: "icmpx", expr: "admin-prohibited" } }]], "accept", "drop"],
    ["that drops a port", [[match(payload("tcp", "dport"), 25), drop]], "accept", "accept"],
    [
      "that decides by a map",
      [[{ vmap: { key: meta("iifname"), data: { set: [] } } }]],
      "drop",
      "unknown",
    ],
    [
      "of iptables' with a comment",
      [[{ xt: { type: "match", name: "comment" } }, drop]],
      "accept",
      "drop",
    ],
    [
      "of iptables' with more",
      [[{ xt: { type: "match", name: "set" } }, drop]],
      "accept",
      "accept",
    ],
  ])("%s", (_, rules, policy, expected) => {
    expect(verdict(rules, policy)).toBe(expected);
  });

  it("looks at both families in one table", () => {
    const rules = [[match(meta("nfproto"), "ipv6"), drop]];
    expect(verdict(rules)).toBe("accept");
    expect(verdict(rules, "accept", outbound6)).toBe("drop");
  });

  it("follows jumps and comes back", () => {
    const jump = [[{ jump: { target: "other" } }], [drop]];
    expect(verdict(jump, "accept", outbound, [[match(meta("iifname"), "lo"), accept]])).toBe(
      "drop",
    );
    expect(verdict(jump, "accept", outbound, [[accept]])).toBe("accept");
    expect(verdict(jump, "accept", outbound, [[{ return: null }], [accept]])).toBe("drop");
  });
});

describe("a packet to the node", () => {
  it.each<[string, readonly Json[], string, string]>([
    ["by the type of its destination", [match(fib("daddr"), "local"), drop], "drop", "accept"],
    [
      "by one of several types",
      [match(fib("daddr"), { set: ["local", "broadcast"] }), drop],
      "drop",
      "accept",
    ],
    ["by another type", [match(fib("daddr"), "anycast"), drop], "accept", "accept"],
    ["by the type of its source", [match(fib("saddr"), "local"), drop], "accept", "accept"],
  ])("is told %s", (_, rule, local, forwarded) => {
    expect(verdict([rule], "accept", { ...outbound, isToNode: true })).toBe(local);
    expect(verdict([rule], "accept")).toBe(forwarded);
  });
});

describe("a packet of TCP or UDP", () => {
  it.each<[string, Json, string]>([
    ["is not ICMP", match(payload("ip", "protocol"), "icmp"), "drop"],
    ["has no ICMP type", match(payload("icmp", "type"), "echo-request"), "drop"],
    ["is not ICMPv6", match(payload("ip6", "nexthdr"), "ipv6-icmp"), "drop"],
    ["is neither", match(meta("l4proto"), { set: ["icmp", "esp"] }), "drop"],
    ["may be UDP", match(meta("l4proto"), { set: ["icmp", "udp"] }), "unknown"],
    ["is not ARP", match(payload("ether", "type"), "arp"), "drop"],
    ["is IP", match(payload("ether", "type"), "ip"), "accept"],
  ])("%s", (_, condition, expected) => {
    expect(verdict([[condition, accept]], "drop")).toBe(expected);
  });
});

describe("a packet on a bridge", () => {
  const bridged: Packet = { ...outbound, in: "", out: "", bridge: "cni0" };
  it.each<[string, Json, string]>([
    ["has the bridge's name", match(meta("ibrname"), "cni0"), "accept"],
    ["has not another's", match(meta("obrname"), "br0"), "drop"],
    ["may come from any port", match(meta("iifname"), "veth1"), "unknown"],
  ])("%s", (_, condition, expected) => {
    expect(verdict([[condition, accept]], "drop", bridged)).toBe(expected);
  });
});

describe("the base chains", () => {
  it("are those with a hook", () => {
    const chain = { family: "inet", table: "t", name: "f", handle: 1 };
    const listing = {
      nftables: [
        { metainfo: { version: "1.0.6" } },
        { chain: { ...chain, type: "filter", hook: "forward", prio: 0, policy: "drop" } },
        { chain: { ...chain, name: "i", type: "filter", hook: "input", prio: 0 } },
        { chain: { ...chain, name: "plain" } },
      ],
    };
    const common = { family: "inet", table: "t" };
    expect(baseChains(listing)).toEqual([
      { ...common, name: "f", hook: "forward", policy: "drop" },
      { ...common, name: "i", hook: "input", policy: "accept" },
    ]);
    expect(baseChains(undefined)).toEqual([]);
  });

  it("have devices, as nft lists them", () => {
    const listing = `table netdev t { # handle 1
\tchain in { # handle 1
\t\ttype filter hook ingress device "cni0" priority filter; policy drop;
\t}

\tchain in2 { # handle 2
\t\ttype filter hook ingress devices = { cni0, "eth1" } priority filter; policy accept;
\t}
}
table inet x { # handle 2
\tchain p { # handle 2
\t\ttype filter hook prerouting priority raw; policy drop;
\t}
}
`;
    expect([...chainDevices(listing)]).toEqual([
      ["netdev t in", ["cni0"]],
      ["netdev t in2", ["cni0", "eth1"]],
    ]);
  });
});

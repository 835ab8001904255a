/** What nftables does with a pod's packets, by the JSON that nft lists. */
import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "../../../../../shared/base/json.ts";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { baseChains, nftRuleset } from "../../../../../tools/cnitool/packet_path/nftables.ts";
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

describe("the base chains", () => {
  it("are those of a hook", () => {
    const chain = { family: "inet", table: "t", name: "f", handle: 1 };
    const listing = {
      nftables: [
        { metainfo: { version: "1.0.6" } },
        { chain: { ...chain, type: "filter", hook: "forward", prio: 0, policy: "drop" } },
        { chain: { ...chain, name: "i", type: "filter", hook: "input", prio: 0, policy: "drop" } },
        { chain: { ...chain, name: "plain" } },
      ],
    };
    expect(baseChains(listing, "forward")).toEqual([
      { family: "inet", table: "t", name: "f", policy: "drop" },
    ]);
    expect(baseChains(undefined, "forward")).toEqual([]);
  });
});

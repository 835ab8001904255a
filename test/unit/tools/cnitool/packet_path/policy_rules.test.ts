/** What `ip rule` does with a pod's packets. */
import { describe, expect, it } from "vitest";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";
import type { PolicyRule } from "../../../../../shared/netlink/policy_rule.ts";
import type { Route } from "../../../../../shared/netlink/route_query.ts";
import { policyRuleset } from "../../../../../tools/cnitool/packet_path/policy_rules.ts";
import { walk } from "../../../../../tools/cnitool/packet_path/walk.ts";
import type { Packet } from "../../../../../tools/cnitool/packet_path/walk.ts";

const main = 254;

function rule(priority: number, more: Partial<PolicyRule>): PolicyRule {
  return {
    ...{ priority, action: "lookup", isInverted: false, src: undefined, dst: undefined },
    ...{ iif: undefined, oif: undefined, mark: undefined, hasMore: false, table: main },
    ...{ suppressed: -1, target: 0 },
    ...more,
  };
}

function route(dst: string, table = main): Route {
  return { dst: parseCidr(dst), gw: undefined, links: [2], table, isAdvertised: false };
}

const usual = [rule(0, { table: 255 }), rule(32766, {}), rule(32767, { table: 253 })];
const pods = parseCidr("10.244.0.0/16");
const from = { src: pods, action: "blackhole" } as const;
const packet: Packet = {
  ...{ family: 4, in: "cni0", out: "eth0", src: parseAddress("10.244.1.9") },
  dst: parseAddress("1.1.1.1"),
};

function verdict(rules: readonly PolicyRule[], routes = [route("0.0.0.0/0")]): string {
  const sorted = [...usual, ...rules].toSorted((a, b) => a.priority - b.priority);
  return walk(policyRuleset(sorted, routes), packet).verdict;
}

describe("ip rule", () => {
  it.each<[string, readonly PolicyRule[], string]>([
    ["as it is", [], "accept"],
    ["with a blackhole", [rule(32765, from)], "drop"],
    ["with a prohibition", [rule(9, { ...from, action: "prohibit" })], "drop"],
    ["with what is unreachable", [rule(9, { ...from, action: "unreachable" })], "drop"],
    ["with a blackhole after the main table", [rule(40000, from)], "accept"],
    ["with a blackhole of others", [rule(9, { ...from, src: parseCidr("10.0.0.0/16") })], "accept"],
    ["with a blackhole of all others", [rule(9, { ...from, isInverted: true })], "accept"],
    ["with a blackhole by link", [rule(9, { ...from, iif: "cni0" })], "drop"],
    ["with a blackhole by another link", [rule(9, { ...from, iif: "eth0" })], "accept"],
    [
      "with a blackhole by destination",
      [rule(9, { ...from, dst: parseCidr("1.0.0.0/8") })],
      "drop",
    ],
    ["with a blackhole by mark", [rule(9, { ...from, mark: { value: 1, mask: 1 } })], "accept"],
    ["with a blackhole by port", [rule(9, { ...from, hasMore: true })], "accept"],
    [
      "with a jump over it",
      [rule(8, { action: "goto", target: 10 }), rule(9, from), rule(10, { action: "nop" })],
      "accept",
    ],
    ["with a jump to it", [rule(8, { action: "goto", target: 10 }), rule(10, from)], "drop"],
    ["with an empty table before it", [rule(8, { table: 7 }), rule(9, from)], "drop"],
    [
      "with the main table without its default route before it",
      [rule(8, { suppressed: 0 }), rule(9, from)],
      "drop",
    ],
    ["with what is not known before it", [rule(8, { action: "other" }), rule(9, from)], "unknown"],
  ])("%s", (_, rules, expected) => {
    expect(verdict(rules)).toBe(expected);
  });

  it("takes a table's route before what follows", () => {
    const rules = [rule(8, { table: 7 }), rule(9, from)];
    expect(verdict(rules, [route("1.1.0.0/16", 7)])).toBe("accept");
  });

  it("shows a rule as ip takes it", () => {
    const rules = [rule(9, { ...from, isInverted: true, src: undefined, iif: "eth1" })];
    const outcome = walk(policyRuleset(rules, []), packet);
    expect(outcome).toMatchObject({
      verdict: "drop",
      rule: "not from all iif eth1 pref 9 blackhole",
    });
  });
});

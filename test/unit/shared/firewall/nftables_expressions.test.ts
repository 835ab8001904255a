/**
 * Which rules have an encoding. That the kernel and the tools read them as they are written, a test with
 * the real ones shows (test/fault/rules_by_netlink.test.ts).
 */
import { describe, expect, it } from "vitest";

import { nftablesRuleContent } from "../../../../shared/firewall/nftables_expressions.ts";

describe("nftablesRuleContent", () => {
  it.each([
    "ct state new accept",
    "ip saddr 10.0.0.0/8 ip6 saddr fd00::/8 accept",
    "ip saddr { 10.0.0.1, 10.0.0.2 } accept",
    "tcp dport 80-90 accept",
    "tcp dport { 80 } accept",
    "tcp dport { 80, 90 accept",
    "tcp sport 80 accept",
    "tcp dport 80 udp dport 80 accept",
    "meta mark 5 accept",
    "meta mark & 0x1 accept",
    "meta iifname cni0 accept",
    "ether saddr 02:00:00:00:00:01 accept",
    'iifname "cni*" drop',
    "dnat to 10.0.0.2",
    "dnat to [fd00::2]:80",
    "jump",
    "log drop",
  ])("leaves %s to nft", (rule) => {
    expect(nftablesRuleContent(rule, 4, () => 1)).toBeUndefined();
  });
});

/**
 * Which rules have an encoding. That the kernel and the tools read them as they are written, a test with
 * the real ones shows (test/fault/rules_by_netlink.test.ts).
 */
import { describe, expect, it } from "vitest";

import { iptablesRuleContent } from "../../../../shared/firewall/iptables_expressions.ts";

describe("iptablesRuleContent", () => {
  it.each([
    "-s 10.0.0.0/8",
    "-j",
    "-j LOG",
    "-j REJECT --reject-with icmp-port-unreachable",
    "-j ACCEPT -s 10.0.0.0/8",
    "! -i cni0 -j DROP",
    "-i cni+ -j DROP",
    "-p icmp -j ACCEPT",
    "-p tcp -m udp --dport 80 -j ACCEPT",
    "-m tcp --dport 80 -j ACCEPT",
    "-p tcp -m tcp --dport 80:90 -j ACCEPT",
    "-p tcp -m tcp --dport 65536 -j ACCEPT",
    "-p tcp -m tcp --sport 80 -j ACCEPT",
    `-p tcp -m multiport --dports ${Array.from({ length: 16 }, (_, at) => at + 1).join(",")} -j ACCEPT`,
    "-m mark --mark 0x1 -j ACCEPT",
    "-m addrtype --dst-type UNICAST -j ACCEPT",
    "-m conntrack --ctstate NEW -j ACCEPT",
    `-m comment --comment ${"c".repeat(257)} -j ACCEPT`,
    "-p tcp -j DNAT --to-destination 10.0.0.2:80-90",
    "-p tcp -j DNAT --to-destination [fd00::2]:80",
    "-j MASQUERADE --to-ports 80",
    '-m comment --comment "open -j ACCEPT',
  ])("leaves %s to the tools", (rule) => {
    expect(iptablesRuleContent(rule, 4)).toBeUndefined();
  });
});

import { describe, expect, it } from "vitest";

import {
  nftablesRemoval,
  nftablesRules,
} from "../../../../../daemons/flanneld/traffic/nftables.ts";
import type { TrafficRules } from "../../../../../daemons/flanneld/traffic/rules.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";

const rules: TrafficRules = {
  family: 4,
  network: parseCidr("10.244.0.0/16"),
  subnet: parseCidr("10.244.1.0/24"),
  masquerade: true,
  randomFully: true,
  unmasqueraded: [],
  forward: true,
};

describe("nftables' rules", () => {
  it("are flannel's in the order of iptables', whatever is there", () => {
    expect(
      nftablesRules(rules, true),
    ).toBe(`add table ip flannel-ipv4 { comment "rules for flannel-ipv4" ; }
add chain ip flannel-ipv4 postrtg { type nat hook postrouting priority srcnat ; policy accept ; comment "chain to manage traffic masquerading by flannel" ; }
flush chain ip flannel-ipv4 postrtg
add rule ip flannel-ipv4 postrtg meta mark & 0x4000 == 0x4000 return
add rule ip flannel-ipv4 postrtg ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return
add rule ip flannel-ipv4 postrtg ip saddr 10.244.0.0/16 ip daddr 10.244.1.0/24 return
add rule ip flannel-ipv4 postrtg ip saddr != 10.244.0.0/16 ip daddr 10.244.1.0/24 return
add rule ip flannel-ipv4 postrtg ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random
add rule ip flannel-ipv4 postrtg ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade fully-random
add chain ip flannel-ipv4 forward { type filter hook forward priority filter ; policy accept ; comment "chain to accept flannel traffic" ; }
flush chain ip flannel-ipv4 forward
add rule ip flannel-ipv4 forward ip saddr 10.244.0.0/16 accept
add rule ip flannel-ipv4 forward ip daddr 10.244.0.0/16 accept
`);
  });

  it("leave pods their address towards some networks", () => {
    const unmasqueraded = [parseCidr("10.77.0.0/24"), parseCidr("192.0.2.7/32")];
    const lines = nftablesRules({ ...rules, unmasqueraded }, true).split("\n");
    const first = lines.indexOf(
      "add rule ip flannel-ipv4 postrtg ip saddr 10.244.0.0/16 ip daddr 10.77.0.0/24 return",
    );
    expect(lines.slice(first + 1, first + 3)).toEqual([
      "add rule ip flannel-ipv4 postrtg ip saddr 10.244.0.0/16 ip daddr 192.0.2.7/32 return",
      "add rule ip flannel-ipv4 postrtg ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
    ]);
  });

  it("do without comments, random ports and either chain", () => {
    const text = nftablesRules({ ...rules, randomFully: false, forward: false }, false);
    expect(text).not.toMatch(/comment|fully-random/);
    expect(text).toContain("delete chain ip flannel-ipv4 forward\n");
    expect(nftablesRules({ ...rules, masquerade: false }, true)).toContain(
      "delete chain ip flannel-ipv4 postrtg\n",
    );
  });

  it("are gone whether they were there or not", () => {
    expect(nftablesRemoval(6)).toBe("add table ip6 flannel-ipv6\ndelete table ip6 flannel-ipv6\n");
  });
});

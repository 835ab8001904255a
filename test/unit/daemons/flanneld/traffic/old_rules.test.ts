import { describe, expect, it } from "vitest";

import { isOldRule } from "../../../../../daemons/flanneld/traffic/old_rules.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";

const networks = ["10.244.0.0/16", "fd00:244::/48"].map(parseCidr);

describe("a rule of the built-in chains", () => {
  it.each([
    "-A POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN",
    "-A POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -j ACCEPT",
    "-A POSTROUTING -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
    "-A POSTROUTING -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
    "-A POSTROUTING ! -s 10.244.0.0/16 -d 10.244.3.0/24 -j RETURN",
    "-A POSTROUTING ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE",
    "-A FORWARD -s 10.244.0.0/16 -j ACCEPT",
    "-A FORWARD -d 10.244.0.0/16 -j ACCEPT",
    "-A POSTROUTING -s fd00:244::/48 ! -d ff00::/8 -j MASQUERADE",
    "-A FORWARD -d fd00:244::/48 -j ACCEPT",
  ])("is an old flannel's: %s", (rule) => {
    expect(isOldRule(rule, networks)).toBe(true);
    expect(isOldRule(rule, [parseCidr("10.245.0.0/16")])).toBe(false);
    expect(isOldRule(rule, [])).toBe(false);
  });

  it.each([
    "-A FORWARD -s 10.244.1.7/32 -j ACCEPT",
    "-A FORWARD -s 10.244.0.0/16 -j DROP",
    "-A FORWARD -s 10.244.0.0/16 -i eth0 -j ACCEPT",
    "-A POSTROUTING ! -s 10.244.0.0/16 -d 10.9.0.0/16 -j RETURN",
    "-A POSTROUTING ! -s 10.244.0.0/16 -d nowhere -j RETURN",
    "-A POSTROUTING -s 10.244.0.0/16 ! -o cni0 -j MASQUERADE",
    "-A OUTPUT -s 10.244.0.0/16 -j ACCEPT",
  ])("is another's: %s", (rule) => {
    expect(isOldRule(rule, networks)).toBe(false);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { contains, formatCidr, lastAddress, parseCidr } from "../../../../shared/net/cidr.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import {
  countSubnets,
  isOnBoundary,
  isWithin,
  nthSubnet,
  subnetSize,
} from "../../../../shared/net/subnets.ts";

function within(inner: string, outer: string): boolean {
  return isWithin(parseCidr(inner), parseCidr(outer));
}

describe("subnets", () => {
  it.each([
    ["10.244.0.0/16", 24, 256n, "10.244.0.0/24", "10.244.255.0/24"],
    ["10.0.0.0/28", 30, 4n, "10.0.0.0/30", "10.0.0.12/30"],
    ["fd00:1::/48", 64, 65_536n, "fd00:1::/64", "fd00:1:0:ffff::/64"],
    ["255.255.0.0/16", 17, 2n, "255.255.0.0/17", "255.255.128.0/17"],
    ["::/1", 127, 1n << 126n, "::/127", "7fff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"],
  ])("counts and names those of %s", (text, prefix, count, first, last) => {
    const network = parseCidr(text);
    expect(countSubnets(network, prefix)).toBe(count);
    expect(formatCidr(nthSubnet(network, prefix, 0n))).toBe(first);
    expect(formatCidr(nthSubnet(network, prefix, count - 1n))).toBe(last);
  });

  it("makes subnets that lie within, begin on a boundary and follow each other", () => {
    fc.assert(
      fc.property(
        fc.nat(2 ** 32 - 1),
        fc.nat(28),
        fc.integer({ min: 0, max: 4 }),
        fc.nat(),
        (value, prefix, more, seed) => {
          const network = { address: { family: 4 as const, value: BigInt(value) }, prefix };
          const at = BigInt(seed) % countSubnets(network, prefix + more);
          const subnet = nthSubnet(network, prefix + more, at);
          expect(isWithin(subnet, network)).toBe(true);
          expect(isOnBoundary(subnet.address, prefix + more)).toBe(true);
          expect(contains(network, lastAddress(subnet))).toBe(true);
          const size = lastAddress(subnet).value - subnet.address.value + 1n;
          expect(size).toBe(subnetSize(4, prefix + more));
        },
      ),
    );
  });

  it("tells what lies within", () => {
    expect(within("10.1.2.0/24", "10.1.0.0/16")).toBe(true);
    expect(within("10.1.0.0/16", "10.1.0.0/16")).toBe(true);
    expect(within("10.0.0.0/8", "10.1.0.0/16")).toBe(false);
    expect(within("10.2.0.0/24", "10.1.0.0/16")).toBe(false);
    expect(within("fd00::/64", "10.1.0.0/16")).toBe(false);
    expect(isOnBoundary(parseAddress("10.1.2.128"), 24)).toBe(false);
  });
});

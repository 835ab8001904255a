import fc from "fast-check";
import IpCidr from "ip-cidr";
import { describe, expect, it } from "vitest";

import { formatAddress, parseAddress } from "../../../../shared/net/address.ts";
import {
  contains,
  defaultRoute,
  firstAddress,
  formatCidr,
  lastAddress,
  overlaps,
  parseCidr,
  sameCidr,
  subnetOf,
} from "../../../../shared/net/cidr.ts";
import { NetError } from "../../../../shared/net/error.ts";
import { anyAddress, anyCidr, isMapped } from "./arbitraries.ts";

describe("parseCidr", () => {
  it.each(["0.0.0.0/0", "10.244.0.0/16", "10.244.1.2/24", "10.0.0.1/32", "::/0", "fd00::1/128"])(
    "reads %s as it is written",
    (text) => {
      expect(formatCidr(parseCidr(text))).toBe(text);
    },
  );

  it.each([
    ["2001:CAFE:42:0::/56", "2001:cafe:42::/56"],
    ["::ffff:10.244.1.2/120", "10.244.1.2/24"],
    ["::ffff:a00:0/96", "10.0.0.0/0"],
  ])("reads %s as %s", (text, canonical) => {
    expect(formatCidr(parseCidr(text))).toBe(canonical);
  });

  it.each([
    "",
    "/",
    "/24",
    "10.244.1.0",
    "10.244.1/24",
    "10.244.1.0/",
    "10.244.1.0/33",
    "10.244.1.0/024",
    "10.244.1.0/00",
    "10.244.1.0/+24",
    "10.244.1.0/-1",
    "10.244.1.0/ 24",
    "10.244.1.0/24 ",
    "10.244.1.0/24\n",
    "10.244.1.0 /24",
    "10.244.1.0/24/24",
    "10.244.1.0/1e1",
    "10.244.1.0/255.255.255.0",
    "010.244.1.0/24",
    "fd00::/129",
    "fd00::/1000",
    "fd00::%eth0/64",
    "fd00::/64%eth0",
    "::ffff:10.244.1.2/24",
    "fd00::",
  ])("refuses %j", (text) => {
    expect(() => parseCidr(text)).toThrow(NetError);
  });

  it("says what is wrong with which text", () => {
    expect(() => parseCidr("10.244.1/24")).toThrow(
      "must be an address with a prefix length, such as 10.244.1.0/24",
    );
  });

  it("undoes formatCidr", () => {
    fc.assert(
      fc.property(anyCidr, (cidr) => {
        fc.pre(!isMapped(cidr.address));
        expect(parseCidr(formatCidr(cidr))).toEqual(cidr);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("a subnet", () => {
  it.each([
    ["10.244.1.2/24", "10.244.1.0", "10.244.1.255"],
    ["10.244.1.2/32", "10.244.1.2", "10.244.1.2"],
    ["10.244.1.2/31", "10.244.1.2", "10.244.1.3"],
    ["10.244.1.2/0", "0.0.0.0", "255.255.255.255"],
    ["fd00::1234/112", "fd00::", "fd00::ffff"],
    ["fd00::1/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
  ])("%s goes from %s to %s", (text, first, last) => {
    const cidr = parseCidr(text);
    expect(formatAddress(firstAddress(cidr))).toBe(first);
    expect(formatAddress(lastAddress(cidr))).toBe(last);
    expect(formatCidr(subnetOf(cidr))).toBe(`${first}/${String(cidr.prefix)}`);
  });

  it.each([
    ["10.244.1.2/24", "10.244.1.0", true],
    ["10.244.1.2/24", "10.244.1.255", true],
    ["10.244.1.2/24", "10.244.2.0", false],
    ["0.0.0.0/0", "::", false],
    ["::/0", "10.244.1.2", false],
    ["fd00::/8", "fdff::1", true],
    ["fd00::/8", "fe00::", false],
  ])("%s contains %s: %s", (subnet, address, expected) => {
    expect(contains(parseCidr(subnet), parseAddress(address))).toBe(expected);
  });

  it.each([
    ["10.244.0.0/16", "10.244.1.0/24", true],
    ["10.244.1.0/24", "10.244.0.0/16", true],
    ["10.244.0.0/24", "10.244.1.0/24", false],
    ["10.244.0.7/24", "10.244.0.9/24", true],
    ["0.0.0.0/0", "::/0", false],
  ])("%s overlaps %s: %s", (a, b, expected) => {
    expect(overlaps(parseCidr(a), parseCidr(b))).toBe(expected);
  });

  it("is the same only with the same host bits", () => {
    expect(sameCidr(parseCidr("10.0.0.1/8"), parseCidr("10.0.0.1/8"))).toBe(true);
    expect(sameCidr(parseCidr("10.0.0.1/8"), parseCidr("10.0.0.0/8"))).toBe(false);
    expect(sameCidr(parseCidr("10.0.0.1/8"), parseCidr("10.0.0.1/9"))).toBe(false);
    expect(sameCidr(defaultRoute(4), defaultRoute(6))).toBe(false);
  });

  it("has the ends that ip-cidr finds", () => {
    fc.assert(
      fc.property(anyCidr, (cidr) => {
        fc.pre(!isMapped(cidr.address));
        const range = new IpCidr(formatCidr(cidr)).toRange<bigint>({ type: "bigInteger" });
        expect([firstAddress(cidr).value, lastAddress(cidr).value]).toEqual(range);
      }),
    );
  });

  it("contains what lies between its ends", () => {
    fc.assert(
      fc.property(anyCidr, anyAddress, (subnet, address) => {
        const { value } = address;
        const between =
          address.family === subnet.address.family &&
          firstAddress(subnet).value <= value &&
          value <= lastAddress(subnet).value;
        expect(contains(subnet, address)).toBe(between);
        expect(contains(subnet, firstAddress(subnet))).toBe(true);
        expect(contains(subnet, lastAddress(subnet))).toBe(true);
      }),
    );
  });
});

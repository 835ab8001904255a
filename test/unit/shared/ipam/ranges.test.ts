import fc from "fast-check";
import { describe, expect, it } from "vitest";

import {
  capacity,
  describe as shown,
  isGateway,
  makeRangeSet,
  rangeOf,
  refuseOverlaps,
} from "../../../../shared/ipam/ranges.ts";
import { formatAddress, parseAddress, sameAddress } from "../../../../shared/net/address.ts";
import { addressesOf, anyRangeSet } from "./arbitraries.ts";
import { range, rangeSet, refusal } from "./helpers.ts";

describe("makeRange", () => {
  it.each([
    { subnet: "10.244.1.0/24", is: "10.244.1.1-10.244.1.254", gateway: "10.244.1.1" },
    { subnet: "10.0.0.0/30", is: "10.0.0.1-10.0.0.2", gateway: "10.0.0.1" },
    { subnet: "0.0.0.0/0", is: "0.0.0.1-255.255.255.254", gateway: "0.0.0.1" },
    { subnet: "fd00::/126", is: "fd00::1-fd00::3", gateway: "fd00::1" },
    { subnet: "fd00::/64", is: "fd00::1-fd00::ffff:ffff:ffff:ffff", gateway: "fd00::1" },
  ])("gives $subnet its defaults", ({ subnet, is, gateway }) => {
    const made = range({ subnet });
    expect(shown([made])).toBe(is);
    expect(formatAddress(made.gateway)).toBe(gateway);
  });

  it.each([
    { what: "a single address", start: "10.0.0.9", end: "10.0.0.9" },
    { what: "a gateway elsewhere", start: "10.0.0.1", end: "10.0.0.5", gateway: "169.254.1.1" },
  ])("takes $what", ({ start, end, gateway = "10.0.0.1" }) => {
    const made = range({ subnet: "10.0.0.0/24", start, end, gateway });
    expect(shown([made])).toBe(`${start}-${end}`);
    expect(formatAddress(made.gateway)).toBe(gateway);
  });

  it.each([
    ["10.0.0.0/24", "10.0.0.0", "10.0.0.255", "10.0.0.1-10.0.0.254"],
    ["10.0.0.0/16", "10.0.1.0", "10.0.1.255", "10.0.1.0-10.0.1.255"],
    ["10.0.0.0/30", "10.0.0.0", "10.0.0.3", "10.0.0.1-10.0.0.2"],
    ["fd00::/120", "fd00::", "fd00::ff", "fd00::1-fd00::ff"],
  ])("D9 in %s of %s-%s takes what a pod can have: %s", (subnet, start, end, is) => {
    expect(shown([range({ subnet, start, end })])).toBe(is);
  });

  it.each([
    [{ start: "10.0.0.255" }, "here.rangeStart", "must be at most 10.0.0.254"],
    [{ start: "10.0.0.255", end: "10.0.0.255" }, "here.rangeStart", "must be at most 10.0.0.254"],
    [{ end: "10.0.0.0" }, "here.rangeEnd", "must be at least 10.0.0.1"],
    [{ start: "10.0.0.0", end: "10.0.0.0" }, "here.rangeEnd", "must be at least 10.0.0.1"],
  ])("D9 refuses %j, which no pod can have", (input, path, must) => {
    const refused = refusal(
      `${path} in the host-local config: it ${must}`,
      "10.0.0.1 to 10.0.0.254",
    );
    expect(() => range({ subnet: "10.0.0.0/24", ...input })).toThrow(
      expect.objectContaining(refused),
    );
  });

  it.each([
    [{ subnet: "10.0.0.0/31" }, "10.0.0.0/31", "30 or less"],
    [{ subnet: "10.0.0.0/32" }, "10.0.0.0/32", "30 or less"],
    [{ subnet: "fd00::/127" }, "fd00::/127", "126 or less"],
    [{ subnet: "10.0.0.1/24" }, 'must not have host bits set (got "10.0.0.1/24")', "10.0.0.0/24"],
    [{ subnet: "10.0.0.0/24", start: "10.0.1.1" }, 'in 10.0.0.0/24 (got "10.0.1.1")', "10.0.0.1"],
    [{ subnet: "10.0.0.0/24", end: "10.0.1.1" }, 'in 10.0.0.0/24 (got "10.0.1.1")', "10.0.0.254"],
    [{ subnet: "10.0.0.0/24", start: "fd00::1" }, 'in 10.0.0.0/24 (got "fd00::1")', "10.0.0.1"],
    [
      { subnet: "10.0.0.0/24", start: "10.0.0.9", end: "10.0.0.8" },
      'must not be after rangeEnd, 10.0.0.8 (got "10.0.0.9")',
      "Swap",
    ],
    [
      { subnet: "10.0.0.0/24", gateway: "fd00::1" },
      'must be an IPv4 address, as 10.0.0.0/24 is (got "fd00::1")',
      "family",
    ],
  ])("refuses %j", (input, message, details) => {
    expect(() => range(input)).toThrow(expect.objectContaining(refusal(message, details)));
  });
});

describe("makeRangeSet", () => {
  it("refuses an empty list", () => {
    expect(() => makeRangeSet([], "here")).toThrow(
      expect.objectContaining(refusal("here in the host-local config: it must not be empty")),
    );
  });

  it("refuses two families", () => {
    expect(() => rangeSet({ subnet: "10.0.0.0/24" }, { subnet: "fd00::/64" })).toThrow(
      expect.objectContaining(refusal("it must have ranges of one family")),
    );
  });

  it("refuses ranges that overlap", () => {
    expect(() =>
      rangeSet(
        { subnet: "10.1.0.0/24" },
        { subnet: "10.0.0.0/24", end: "10.0.0.9" },
        { subnet: "10.0.0.0/16", start: "10.0.0.9" },
      ),
    ).toThrow(
      expect.objectContaining(
        refusal('do not overlap (got "10.0.0.1-10.0.0.9, 10.0.0.9-10.0.255.254")'),
      ),
    );
  });

  it.each([
    ["10.0.0.1", "10.0.0.9", "10.0.0.9", "10.0.0.20"],
    ["10.0.0.9", "10.0.0.20", "10.0.0.1", "10.0.0.9"],
    ["10.0.0.1", "10.0.0.20", "10.0.0.9", "10.0.0.9"],
    ["10.0.0.9", "10.0.0.9", "10.0.0.1", "10.0.0.20"],
  ])("sees that %s-%s and %s-%s overlap", (start, end, otherStart, otherEnd) => {
    const subnet = "10.0.0.0/24";
    const gateway = "10.0.0.99";
    expect(() =>
      rangeSet(
        { subnet, gateway, start, end },
        { subnet, gateway, start: otherStart, end: otherEnd },
      ),
    ).toThrow(expect.objectContaining(refusal("overlap")));
  });

  it("refuses a range of nothing but the gateway", () => {
    const only = { subnet: "10.0.0.0/24", end: "10.0.0.1" };
    expect(() => rangeSet(only)).toThrow(
      expect.objectContaining(
        refusal('must have another address than the gateway\'s (got "10.0.0.1-10.0.0.1")'),
      ),
    );
    expect(rangeSet(only, { subnet: "10.0.1.0/24" })).toHaveLength(2);
  });

  it("takes parts of one subnet that do not", () => {
    const set = rangeSet(
      { subnet: "10.0.0.0/24", end: "10.0.0.9" },
      { subnet: "10.0.0.0/24", start: "10.0.0.10" },
    );
    expect(shown(set)).toBe("10.0.0.1-10.0.0.9, 10.0.0.10-10.0.0.254");
  });
});

describe("refuseOverlaps", () => {
  it("says which sets", () => {
    const sets = ["10.0.0.0/24", "10.1.0.0/24", "10.1.0.0/16"].map((subnet) =>
      rangeSet({ subnet }),
    );
    expect(() => {
      refuseOverlaps(sets);
    }).toThrow(
      expect.objectContaining(refusal('(got "10.1.0.1-10.1.0.254 and 10.1.0.1-10.1.255.254")')),
    );
  });

  it("takes the same numbers in two families", () => {
    expect(() => {
      refuseOverlaps([rangeSet({ subnet: "0.0.0.0/16" }), rangeSet({ subnet: "::/112" })]);
    }).not.toThrow();
  });
});

describe("capacity", () => {
  it("counts what can be handed out", () => {
    fc.assert(
      fc.property(anyRangeSet, (set) => {
        const free = addressesOf(set).filter((address) => !isGateway(set, address));
        expect(capacity(set)).toBe(BigInt(free.length));
      }),
    );
  });

  it("is exact where numbers are not", () => {
    expect(capacity(rangeSet({ subnet: "fd00::/64" }))).toBe(2n ** 64n - 2n);
  });
});

describe("rangeOf", () => {
  it("finds the one range that an address lies in", () => {
    fc.assert(
      fc.property(anyRangeSet, (set) => {
        for (const expected of set) {
          for (const address of addressesOf([expected]))
            expect(rangeOf(set, address)).toBe(expected);
        }
      }),
    );
  });

  it("tells the families apart", () => {
    const set = rangeSet({ subnet: "::/112" });
    expect(rangeOf(set, parseAddress("0.0.0.5"))).toBeUndefined();
    expect(set.some(({ gateway }) => sameAddress(gateway, parseAddress("0.0.0.1")))).toBe(false);
  });
});

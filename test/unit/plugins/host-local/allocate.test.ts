import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { assignRequests, candidates } from "../../../../plugins/host-local/allocate.ts";
import type { Candidate, Known } from "../../../../plugins/host-local/allocate.ts";
import { isGateway, rangeOf } from "../../../../shared/ipam/ranges.ts";
import type { RangeSet } from "../../../../shared/ipam/ranges.ts";
import { Code } from "../../../../shared/cni/error.ts";
import { formatAddress, parseAddress, sameAddress } from "../../../../shared/net/address.ts";
import type { Address } from "../../../../shared/net/address.ts";
import { formatCidr } from "../../../../shared/net/cidr.ts";
import { addressesOf, anyRangeSet } from "../../shared/ipam/arbitraries.ts";
import { rangeSet } from "../../shared/ipam/helpers.ts";

/** A set with some addresses taken, and the address that was reserved last. */
const anyState = anyRangeSet.chain((set) => {
  const all = addressesOf(set);
  const elsewhere = { ...all[0], value: 1n } as Address;
  return fc.record({
    set: fc.constant(set),
    taken: fc.subarray(all),
    last: fc.option(fc.constantFrom(...all, elsewhere), { nil: undefined }),
  });
});

const isIn = (list: readonly Address[]) => (address: Address) =>
  list.some((listed) => sameAddress(listed, address));

/** The expected order, in a simple way: rotate the list until `last` is at its end, then remove. */
function naive(set: RangeSet, last: Address | undefined, taken: readonly Address[]): Address[] {
  const all = addressesOf(set);
  const turn =
    last === undefined ? 0 : all.findIndex((candidate) => sameAddress(candidate, last)) + 1;
  return [...all.slice(turn), ...all.slice(0, turn)].filter(
    (address) => !isIn(taken)(address) && !set.some(({ gateway }) => sameAddress(gateway, address)),
  );
}

/** The state of an unused set. */
const nothing: Known = { last: undefined, released: [], taken: () => false };

const plain = ({ address }: Candidate): Address => address.address;
const shown = (found: Iterable<Candidate>): string[] =>
  [...found].map(({ address, gateway }) => `${formatCidr(address)} via ${formatAddress(gateway)}`);

describe("candidates", () => {
  it("are what a naive model gives, in its order", () => {
    fc.assert(
      fc.property(anyState, ({ set, taken, last }) => {
        const found = [...candidates(set, { last, released: [], taken: isIn(taken) })].map(plain);
        expect(found).toEqual(naive(set, last, taken));
      }),
    );
  });

  it("are in the set, free, no gateway and each there once", () => {
    fc.assert(
      fc.property(anyState, ({ set, taken, last }) => {
        const found = [...candidates(set, { last, released: [], taken: isIn(taken) })];
        for (const { address, gateway } of found) {
          const range = rangeOf(set, address.address);
          expect(range).toMatchObject({ gateway, subnet: { prefix: address.prefix } });
          expect(isGateway(set, address.address)).toBe(false);
          expect(isIn(taken)(address.address)).toBe(false);
        }
        expect(new Set(found.map(plain).map(formatAddress)).size).toBe(found.length);
      }),
    );
  });

  it("begin after the last one, and end with it", () => {
    const set = rangeSet({ subnet: "10.0.0.0/29" });
    expect(shown(candidates(set, { ...nothing, last: parseAddress("10.0.0.4") }))).toEqual([
      "10.0.0.5/29 via 10.0.0.1",
      "10.0.0.6/29 via 10.0.0.1",
      "10.0.0.2/29 via 10.0.0.1",
      "10.0.0.3/29 via 10.0.0.1",
      "10.0.0.4/29 via 10.0.0.1",
    ]);
  });

  it("go on in the next range of the set", () => {
    const set = rangeSet({ subnet: "10.0.0.0/30" }, { subnet: "10.9.0.0/30" });
    expect(shown(candidates(set, { ...nothing, last: parseAddress("10.0.0.2") }))).toEqual([
      "10.9.0.2/30 via 10.9.0.1",
      "10.0.0.2/30 via 10.0.0.1",
    ]);
  });

  it.each(["fd00::/64", "::/0", "0.0.0.0/0"])("are made one by one in %s", (subnet) => {
    const found = candidates(rangeSet({ subnet }), {
      ...nothing,
      taken: ({ value }) => value % 2n === 0n,
    });
    expect(found.next().done).toBe(false);
  });

  it("come to an end where all of a range up to the family's last address is taken", () => {
    const last = `ffff:${"ffff:".repeat(6)}fff0`;
    const found = candidates(rangeSet({ subnet: `${last}/124` }), {
      ...nothing,
      taken: () => true,
    });
    expect([...found]).toEqual([]);
  });

  it("H5 are those that were not released of late, and then the others, the latest as the last", () => {
    const withReleased = anyState.chain((state) =>
      fc.record({
        state: fc.constant(state),
        released: fc.shuffledSubarray(addressesOf(state.set)),
      }),
    );
    fc.assert(
      fc.property(withReleased, ({ state: { set, taken, last }, released }) => {
        const found = [...candidates(set, { last, released, taken: isIn(taken) })].map(plain);
        const free = naive(set, last, taken);
        expect(found).toEqual([
          ...free.filter((address) => !isIn(released)(address)),
          ...released.filter(isIn(free)),
        ]);
      }),
    );
  });

  it("H5 take of an address that was released twice the later time", () => {
    const set = rangeSet({ subnet: "10.0.0.0/29", end: "10.0.0.3" });
    const released = ["10.0.0.3", "192.0.2.1", "10.0.0.2", "10.0.0.3"].map(parseAddress);
    expect(shown(candidates(set, { ...nothing, released }))).toEqual([
      "10.0.0.2/29 via 10.0.0.1",
      "10.0.0.3/29 via 10.0.0.1",
    ]);
  });
});

describe("assignRequests", () => {
  const sets = [
    rangeSet({ subnet: "10.0.0.0/24" }, { subnet: "10.0.1.0/25", gateway: "10.0.1.9" }),
    rangeSet({ subnet: "fd00::/64" }),
  ];
  const assign = (...texts: string[]) =>
    assignRequests(sets, texts.map(parseAddress)).map(
      (assigned) => assigned && shown([assigned])[0],
    );

  it("leaves sets that nothing is requested of", () => {
    expect(assign()).toEqual([undefined, undefined]);
    expect(assign("fd00::7")).toEqual([undefined, "fd00::7/64 via fd00::1"]);
  });

  it("gives an address to the range it lies in, in whatever order they come", () => {
    expect(assign("fd00::7", "10.0.1.7")).toEqual([
      "10.0.1.7/25 via 10.0.1.9",
      "fd00::7/64 via fd00::1",
    ]);
  });

  it("takes an address that is requested twice once", () => {
    expect(assign("10.0.0.7", "10.0.0.7")).toEqual(["10.0.0.7/24 via 10.0.0.1", undefined]);
  });

  it.each([
    { texts: ["10.0.0.1"], message: "10.0.0.1" },
    { texts: ["10.0.1.9"], message: "10.0.1.9" },
    { texts: ["10.0.0.7", "10.0.0.8"], message: "10.0.0.8" },
    { texts: ["10.0.0.0"], message: "10.0.0.0" },
    { texts: ["192.0.2.1", "fd00::7"], message: "192.0.2.1" },
  ])("refuses $texts", ({ texts, message }) => {
    expect(() => assign(...texts)).toThrow(
      expect.objectContaining({
        code: Code.InvalidNetworkConfig,
        message: expect.stringContaining(message),
        details: expect.stringMatching(/10\.0\.0\.1-10\.0\.0\.254/),
      }),
    );
  });
});

/** Random range sets, small enough to enumerate. */
import fc from "fast-check";

import type { Address, Family } from "../../../../shared/net/address.ts";
import { widthOf } from "../../../../shared/net/address.ts";
import type { Range, RangeSet } from "../../../../shared/ipam/ranges.ts";

/** A place in a subnet, as a fraction of its size. */
const part = fc.double({ min: 0, max: 1, noNaN: true });

/** A range in the subnet that begins at `base`. Its gateway may be in it, before it or after it. */
function rangeAt(family: Family, base: bigint): fc.Arbitrary<Range> {
  return fc.tuple(fc.integer({ min: 2, max: 6 }), part, part, part).map(([bits, a, b, c]) => {
    const at = (share: number): Address => ({
      family,
      value: base + BigInt(Math.floor(share * (2 ** bits - 1))),
    });
    return {
      subnet: { address: { family, value: base }, prefix: widthOf(family) - bits },
      start: at(Math.min(a, b)),
      end: at(Math.max(a, b)),
      gateway: at(c),
    };
  });
}

/** One to four disjoint ranges of one family, in any order. */
export const anyRangeSet: fc.Arbitrary<RangeSet> = fc
  .constantFrom<Family>(4, 6)
  .chain((family) => {
    const first = family === 4 ? 0x0a_00_00_00n : 0xfd00n << 112n;
    return fc
      .shuffledSubarray([0n, 1n, 2n, 3n], { minLength: 1 })
      .chain((places) => fc.tuple(...places.map((n) => rangeAt(family, first + n * 64n))));
  })
  .filter((ranges): ranges is [Range, ...Range[]] => ranges.length > 0);

/** Every address of a set, in order. */
export function addressesOf(set: RangeSet): Address[] {
  return set.flatMap(({ start, end }) =>
    Array.from({ length: Number(end.value - start.value) + 1 }, (_, n) => ({
      family: start.family,
      value: start.value + BigInt(n),
    })),
  );
}

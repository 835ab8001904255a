import { formatAddress, sameAddress } from "../../shared/net/address.ts";
import type { Address } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { describe, invalid, isGateway, rangeOf } from "../../shared/ipam/ranges.ts";
import type { Range, RangeSet } from "../../shared/ipam/ranges.ts";

/** An address that a pod can have: with its subnet's prefix, and the way out of that subnet. */
export interface Candidate {
  readonly address: Cidr;
  readonly gateway: Address;
}

/** What is known of the addresses of a set, and maybe of others. */
export interface Known {
  /** The one reserved last; one outside the set counts for nothing. */
  readonly last: Address | undefined;
  /** Those released last, the latest at the end. */
  readonly released: readonly Address[];
  /** Whether an address is reserved. */
  readonly taken: (address: Address) => boolean;
}

/**
 * The addresses of a set that are free, in the order to try them: round robin from the one after
 * that reserved last, and those released of late only then, the latest as the last of all. Others may
 * still send to a pod that had the address: round robin alone comes to one that was just released at
 * once if it happens to be the next.
 *
 * They are made one by one, so a /64 costs no more than what is taken of it.
 */
export function* candidates(
  set: RangeSet,
  { last, released, taken }: Known,
): Generator<Candidate, void> {
  const late = new Map<bigint, Candidate>();
  for (const address of released) {
    const range = rangeOf(set, address);
    late.delete(address.value);
    if (range !== undefined) late.set(address.value, candidate(range, address));
  }
  const isFree = (address: Address): boolean => !isGateway(set, address) && !taken(address);
  for (const { range, from, to } of spans(set, last)) {
    for (let value = from; value <= to; value++) {
      const address = { family: range.start.family, value };
      if (!late.has(value) && isFree(address)) yield candidate(range, address);
    }
  }
  for (const one of late.values()) if (isFree(one.address.address)) yield one;
}

/**
 * Gives each requested address to the range set that it lies in.
 * @returns for each set, the address that it has to give, if one was requested of it.
 * @throws CniError InvalidNetworkConfig if one is a gateway, or left over.
 */
export function assignRequests(
  sets: readonly RangeSet[],
  requested: readonly Address[],
): (Candidate | undefined)[] {
  if (requested.length === 0) return sets.map(() => undefined);
  const left = requested.filter(
    (address, index) => requested.findIndex((other) => sameAddress(address, other)) === index,
  );
  const assigned = sets.map((set) => {
    const index = left.findIndex((address) => rangeOf(set, address) !== undefined);
    const [address] = index < 0 ? [] : left.splice(index, 1);
    const range = address === undefined ? undefined : rangeOf(set, address);
    if (address === undefined || range === undefined) return undefined;
    if (isGateway(set, address)) {
      throw invalid(
        `the requested address ${formatAddress(address)}`,
        "it is the gateway",
        `Request another one of ${describe(set)}.`,
      );
    }
    return candidate(range, address);
  });
  if (left.length > 0) {
    throw invalid(
      `the requested ${left.map(formatAddress).join(", ")}`,
      "no range set can give it",
      `Each set gives one address; there are ${sets.map((set) => `[${describe(set)}]`).join(" and ")}.`,
    );
  }
  return assigned;
}

interface Span {
  readonly range: Range;
  readonly from: bigint;
  readonly to: bigint;
}

/** The whole set cut into pieces, beginning after `last` and coming round to it. */
function spans(set: RangeSet, last: Address | undefined): Span[] {
  const whole = set.map((range) => ({ range, from: range.start.value, to: range.end.value }));
  const range = last === undefined ? undefined : rangeOf(set, last);
  if (last === undefined || range === undefined) return whole;
  const at = set.indexOf(range);
  return [
    { range, from: last.value + 1n, to: range.end.value },
    ...whole.slice(at + 1),
    ...whole.slice(0, at),
    { range, from: range.start.value, to: last.value },
  ];
}

function candidate(range: Range, address: Address): Candidate {
  return { address: { address, prefix: range.subnet.prefix }, gateway: range.gateway };
}

import { formatAddress, sameAddress } from "../../shared/net/address.ts";
import type { Address } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { CniError, Code } from "../../shared/cni/error.ts";
import { describe, isGateway, rangeOf } from "../../shared/ipam/ranges.ts";
import type { Range, RangeSet } from "../../shared/ipam/ranges.ts";

/** An address that a pod can have, and its gateway. */
export interface Candidate {
  /** With the subnet's prefix length. */
  readonly address: Cidr;
  readonly gateway: Address;
}

/** What is known about addresses, in the set and outside. */
export interface Known {
  /** The one reserved last. */
  readonly last: Address | undefined;
  /** Those released last, the latest at the end. */
  readonly released: readonly Address[];
  /** Whether an address is reserved. */
  readonly taken: (address: Address) => boolean;
}

/**
 * The free addresses of a set in the order to try them: round robin from the one that follows the one
 * reserved last, then those released lately, the latest as the last of all. Somebody may still send to
 * a pod that had the address.
 *
 * They are generated one by one, so that even a /64 costs no more than its reserved addresses.
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
  for (const found of late.values()) if (isFree(found.address.address)) yield found;
}

/**
 * Assigns each requested address to the range set that it is in.
 * @returns for each set, the address that it must give, if one was requested of it.
 * @throws CniError InvalidNetworkConfig if one is a gateway, or no set is left for it.
 */
export function assignRequests(
  sets: readonly RangeSet[],
  requested: readonly Address[],
): (Candidate | undefined)[] {
  if (requested.length === 0) return sets.map(() => undefined);
  const left = requested.filter(
    (address, index) => requested.findIndex((earlier) => sameAddress(address, earlier)) === index,
  );
  const assigned = sets.map((set) => {
    const index = left.findIndex((address) => rangeOf(set, address) !== undefined);
    const [address] = index < 0 ? [] : left.splice(index, 1);
    const range = address === undefined ? undefined : rangeOf(set, address);
    if (address === undefined || range === undefined) return undefined;
    if (isGateway(set, address)) throw badRequest([address], "must not be the gateway's", sets);
    return candidate(range, address);
  });
  if (left.length > 0)
    throw badRequest(left, "must be in a range set, and each set gives one address", sets);
  return assigned;
}

function badRequest(
  addresses: readonly Address[],
  must: string,
  sets: readonly RangeSet[],
): CniError {
  return new CniError(
    Code.InvalidNetworkConfig,
    `Cannot give a requested address: it ${must} (got ${addresses.map(formatAddress).join(", ")}).`,
    `The range sets are ${sets.map((set) => `[${describe(set)}]`).join(" and ")}. Correct what the pod asks for.`,
  );
}

interface Span {
  readonly range: Range;
  readonly from: bigint;
  readonly to: bigint;
}

/** The set's ranges, turned so that they begin after `last` and end with it. */
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

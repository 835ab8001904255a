import { CniError, Code } from "../cni/error.ts";
import { compareAddresses, formatAddress, offsetAddress, widthOf } from "../net/address.ts";
import type { Address } from "../net/address.ts";
import {
  contains,
  firstAddress,
  formatCidr,
  lastAddress,
  sameCidr,
  subnetOf,
} from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";

/** The addresses from `start` to `end`, both included, of one subnet. */
export interface Range {
  readonly subnet: Cidr;
  readonly start: Address;
  readonly end: Address;
  /** Never handed out, whether or not it lies in the subnet. */
  readonly gateway: Address;
}

/** Ranges of one family, none overlapping another, that give one address between them. */
export type RangeSet = readonly [Range, ...Range[]];

/** A range as a config has it. */
export interface RangeInput {
  readonly subnet: Cidr;
  readonly start: Address | undefined;
  readonly end: Address | undefined;
  readonly gateway: Address | undefined;
}

/**
 * Fills in what a range leaves out, with host-local's defaults: the subnet's first address is the
 * gateway, and everything between the network's and IPv4's broadcast address is handed out.
 *
 * A gateway outside the subnet is fine, for an IPv6 gateway is often link-local; so are a start or
 * an end that is the network's or the broadcast address, if the config says so.
 * @param where the range's path in the config, for messages.
 * @throws CniError InvalidNetworkConfig
 */
export function makeRange(input: RangeInput, where: string): Range {
  const { subnet } = input;
  const shown = formatCidr(subnet);
  const width = widthOf(subnet.address.family);
  if (subnet.prefix > width - 2) {
    throw invalid(
      `${where}.subnet`,
      `it is ${shown}, which is too small for a gateway and pods`,
      `Use a prefix length of ${String(width - 2)} or less.`,
    );
  }
  if (!sameCidr(subnet, subnetOf(subnet))) {
    throw invalid(
      `${where}.subnet`,
      `it is ${shown}, which has host bits set`,
      `Write the network's address: ${formatCidr(subnetOf(subnet))}.`,
    );
  }
  const first = offsetAddress(firstAddress(subnet), 1n);
  const last = offsetAddress(lastAddress(subnet), subnet.address.family === 4 ? -1n : 0n);
  const range = {
    subnet,
    start: input.start ?? first,
    end: input.end ?? last,
    gateway: input.gateway ?? first,
  };
  for (const [name, address] of [
    ["rangeStart", range.start],
    ["rangeEnd", range.end],
  ] as const) {
    if (!contains(subnet, address)) {
      throw invalid(
        `${where}.${name}`,
        `it is ${formatAddress(address)}, which is not in ${shown}`,
        `Choose one from ${formatAddress(first)} to ${formatAddress(last)}, or leave it out.`,
      );
    }
  }
  if (compareAddresses(range.start, range.end) > 0) {
    throw invalid(
      where,
      `it is ${describe([range])}, which ends before it starts`,
      "Swap rangeStart and rangeEnd.",
    );
  }
  if (range.gateway.family !== subnet.address.family) {
    throw invalid(
      `${where}.gateway`,
      `it is ${formatAddress(range.gateway)}, which is of another family than ${shown}`,
      "Give a gateway of the subnet's family, or leave it out.",
    );
  }
  return range;
}

/**
 * Makes a set of ranges.
 * @throws CniError InvalidNetworkConfig if it is empty, mixes families, overlaps itself or holds no
 *   address but gateways.
 */
export function makeRangeSet(ranges: readonly Range[], where: string): RangeSet {
  const [first, ...rest] = ranges;
  if (first === undefined) {
    throw invalid(where, "it is an empty list", 'Put a range in it: {"subnet": "10.244.1.0/24"}.');
  }
  const before: Range[] = [];
  for (const range of ranges) {
    if (range.subnet.address.family !== first.subnet.address.family) {
      throw invalid(
        where,
        "it mixes IPv4 and IPv6",
        "A set gives one address: put each family into a set of its own.",
      );
    }
    const other = before.find((one) => rangesOverlap(one, range));
    before.push(range);
    if (other === undefined) continue;
    throw invalid(
      where,
      `its ranges ${describe([other])} and ${describe([range])} overlap`,
      "Make them disjoint, for an address must belong to one range.",
    );
  }
  const set: RangeSet = [first, ...rest];
  if (capacity(set) > 0n) return set;
  throw invalid(
    where,
    `its range ${describe(set)} has no address but the gateway's`,
    "Widen it, or choose another gateway.",
  );
}

/** @throws CniError InvalidNetworkConfig if an address belongs to two of the sets. */
export function refuseOverlaps(sets: readonly RangeSet[]): void {
  if (sets.length === 1) return;
  for (const [index, set] of sets.entries()) {
    const other = sets
      .slice(0, index)
      .findIndex((earlier) =>
        earlier.some((one) => set.some((range) => rangesOverlap(one, range))),
      );
    if (other < 0) continue;
    throw invalid(
      "the ranges",
      `range set ${String(other)} overlaps with ${String(index)}`,
      "Sets count from 0: runtimeConfig.ipRanges first, then ipam.subnet, then ipam.ranges. Make them disjoint.",
    );
  }
}

/** The range that an address lies in, or undefined. */
export function rangeOf(set: RangeSet, address: Address): Range | undefined {
  return set.find(
    ({ start, end }) =>
      start.family === address.family && start.value <= address.value && address.value <= end.value,
  );
}

/** Whether an address is a gateway of one of the set's ranges. */
export function isGateway(set: RangeSet, address: Address): boolean {
  return set.some(
    ({ gateway }) => gateway.family === address.family && gateway.value === address.value,
  );
}

/** How many addresses a set can hand out: all but the gateways. */
export function capacity(set: RangeSet): bigint {
  let all = 0n;
  const gateways = new Set<bigint>();
  for (const { start, end, gateway } of set) {
    all += end.value - start.value + 1n;
    if (rangeOf(set, gateway) !== undefined) gateways.add(gateway.value);
  }
  return all - BigInt(gateways.size);
}

/** "10.244.1.1-10.244.1.254", ranges separated by ", ". */
export function describe(set: readonly Range[]): string {
  return set.map(({ start, end }) => `${formatAddress(start)}-${formatAddress(end)}`).join(", ");
}

/** The error "Cannot use <subject>: <problem>." about the config. */
export function invalid(subject: string, problem: string, advice: string): CniError {
  return new CniError(Code.InvalidNetworkConfig, `Cannot use ${subject}: ${problem}.`, advice);
}

function rangesOverlap(a: Range, b: Range): boolean {
  return (
    a.start.family === b.start.family &&
    a.start.value <= b.end.value &&
    b.start.value <= a.end.value
  );
}

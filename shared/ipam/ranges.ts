import { badConfig } from "../cni/conf.ts";
import type { CniError } from "../cni/error.ts";
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

/** Names the config in messages. */
export const what = "the host-local config";

/** The addresses from `start` to `end`, both included, of one subnet. */
export interface Range {
  readonly subnet: Cidr;
  readonly start: Address;
  readonly end: Address;
  /** Never given to a pod, whether or not it is in the subnet. */
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
 * gateway, and the range is everything between the network's and IPv4's broadcast address. Those two
 * are left out wherever the config's range begins and ends, because no pod can use them: the network's
 * was a broadcast address too once, and in IPv6 every router answers to it (RFC 4291, section 2.6.1). A
 * gateway outside the subnet is fine, for one of IPv6 is often link-local.
 * @param path where the range is in the config.
 * @throws CniError InvalidNetworkConfig
 */
export function makeRange(input: RangeInput, path: string): Range {
  const { subnet } = input;
  checkSubnet(subnet, path);
  const first = offsetAddress(firstAddress(subnet), 1n);
  const last = offsetAddress(lastAddress(subnet), subnet.address.family === 4 ? -1n : 0n);
  const between = `from ${formatAddress(first)} to ${formatAddress(last)}`;
  for (const key of ["start", "end"] as const) {
    const address = input[key];
    if (address === undefined || contains(subnet, address)) continue;
    throw badRange(
      `${path}.${keyOf[key]}`,
      formatAddress(address),
      `must be in ${formatCidr(subnet)}`,
      `Choose an address ${between}, or leave it out.`,
    );
  }
  checkOrder(input, path, { first, last });
  const range = {
    subnet,
    start: later(input.start ?? first, first),
    end: earlier(input.end ?? last, last),
    gateway: input.gateway ?? first,
  };
  const { family } = subnet.address;
  if (range.gateway.family !== family) {
    throw badRange(
      `${path}.gateway`,
      formatAddress(range.gateway),
      `must be an IPv${String(family)} address, as ${formatCidr(subnet)} is`,
      "Give a gateway of the subnet's family, or leave it out.",
    );
  }
  return range;
}

const keyOf = { start: "rangeStart", end: "rangeEnd" } as const;

function checkSubnet(subnet: Cidr, path: string): void {
  const longest = widthOf(subnet.address.family) - 2;
  if (subnet.prefix > longest) {
    throw badRange(
      `${path}.subnet`,
      formatCidr(subnet),
      "must have room for a gateway and pods",
      `Use a prefix length of ${String(longest)} or less.`,
    );
  }
  const network = subnetOf(subnet);
  if (sameCidr(subnet, network)) return;
  throw badRange(
    `${path}.subnet`,
    formatCidr(subnet),
    "must not have host bits set",
    `Write the network's address: ${formatCidr(network)}.`,
  );
}

/** @param usable the addresses of the subnet that a pod can have. */
function checkOrder(
  { start, end }: RangeInput,
  path: string,
  usable: { readonly first: Address; readonly last: Address },
): void {
  const [first, last] = [formatAddress(usable.first), formatAddress(usable.last)];
  const advice = `A pod can have the addresses from ${first} to ${last}.`;
  if (start !== undefined && compareAddresses(start, usable.last) > 0) {
    throw badRange(`${path}.rangeStart`, formatAddress(start), `must be at most ${last}`, advice);
  }
  if (end !== undefined && compareAddresses(end, usable.first) < 0) {
    throw badRange(`${path}.rangeEnd`, formatAddress(end), `must be at least ${first}`, advice);
  }
  if (start === undefined || end === undefined || compareAddresses(start, end) <= 0) return;
  throw badRange(
    `${path}.rangeStart`,
    formatAddress(start),
    `must not be after rangeEnd, ${formatAddress(end)}`,
    "Swap rangeStart and rangeEnd.",
  );
}

function later(a: Address, b: Address): Address {
  return compareAddresses(a, b) < 0 ? b : a;
}

function earlier(a: Address, b: Address): Address {
  return compareAddresses(a, b) < 0 ? a : b;
}

/**
 * Makes a set of ranges.
 * @param path where the set is in the config.
 * @throws CniError InvalidNetworkConfig if it is empty, mixes families, overlaps itself or has no
 *   address for a pod.
 */
export function makeRangeSet(ranges: readonly Range[], path: string): RangeSet {
  const [first, ...rest] = ranges;
  if (first === undefined) {
    throw badRange(path, [], "must not be empty", 'Add a range: {"subnet": "10.244.1.0/24"}.');
  }
  const before: Range[] = [];
  for (const range of ranges) {
    if (range.subnet.address.family !== first.subnet.address.family) {
      throw badRange(
        path,
        ranges.map(({ subnet }) => formatCidr(subnet)).join(", "),
        "must have ranges of one family",
        "A set gives one address: put each family into its own set.",
      );
    }
    const overlapping = before.find((known) => rangesOverlap(known, range));
    before.push(range);
    if (overlapping === undefined) continue;
    throw badRange(
      path,
      describe([overlapping, range]),
      "must have ranges that do not overlap",
      "Put each address into one range only.",
    );
  }
  const set: RangeSet = [first, ...rest];
  if (capacity(set) > 0n) return set;
  throw badRange(
    path,
    describe(set),
    "must have another address than the gateway's",
    "Widen the range, or choose another gateway.",
  );
}

/** @throws CniError InvalidNetworkConfig if an address belongs to two of the sets. */
export function refuseOverlaps(sets: readonly RangeSet[]): void {
  for (const [index, set] of sets.entries()) {
    const overlapping = sets
      .slice(0, index)
      .find((before) => before.some((a) => set.some((b) => rangesOverlap(a, b))));
    if (overlapping === undefined) continue;
    throw badRange(
      "ipam",
      `${describe(overlapping)} and ${describe(set)}`,
      "must have range sets that do not overlap",
      "The range sets are those of runtimeConfig.ipRanges, ipam.subnet and ipam.ranges.",
    );
  }
}

/** The range that an address is in, or undefined. */
export function rangeOf(set: RangeSet, address: Address): Range | undefined {
  return set.find(
    ({ start, end }) =>
      start.family === address.family && start.value <= address.value && address.value <= end.value,
  );
}

/** The range set that an address is in, or undefined. */
export function setOf(sets: readonly RangeSet[], address: Address): RangeSet | undefined {
  return sets.find((set) => rangeOf(set, address) !== undefined);
}

/** Whether an address is a gateway of one of the set's ranges. */
export function isGateway(set: RangeSet, address: Address): boolean {
  return set.some(
    ({ gateway }) => gateway.family === address.family && gateway.value === address.value,
  );
}

/** How many addresses a set has for pods: all but the gateways. */
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

/** The error for something in the config that is about ranges. */
export function badRange(path: string, value: unknown, must: string, advice: string): CniError {
  return badConfig(path, value, must, what, advice);
}

function rangesOverlap(a: Range, b: Range): boolean {
  return (
    a.start.family === b.start.family &&
    a.start.value <= b.end.value &&
    b.start.value <= a.end.value
  );
}

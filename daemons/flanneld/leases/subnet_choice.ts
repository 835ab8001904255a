import { Failure } from "../../../shared/base/failure.ts";
import type { NetConf, SubnetRange } from "../../../shared/flannel/net_conf.ts";
import { overlaps } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import { subnetSize } from "../../../shared/net/subnets.ts";
import type { Subnets } from "./etcd_entries.ts";

/**
 * A subnet is drawn from so many of the first free ones, so that two nodes that start at once
 * rarely draw the same.
 */
const drawn = 100;

/** Whether the network's config allows a node to have these subnets. */
export function fits({ subnet, subnetV6 }: Subnets, conf: NetConf): boolean {
  const { subnets, ipv6Subnets } = conf;
  if (subnets === undefined || !isInRange(subnet, subnets)) return false;
  if (ipv6Subnets === undefined) return subnetV6 === undefined;
  return subnetV6 !== undefined && isInRange(subnetV6, ipv6Subnets);
}

function isInRange({ address, prefix }: Cidr, { length, first, last }: SubnetRange): boolean {
  return (
    prefix === length && address.value >= first.address.value && address.value <= last.address.value
  );
}

/** Whether subnets overlap any that are taken. */
export function isTaken({ subnet, subnetV6 }: Subnets, taken: readonly Subnets[]): boolean {
  return taken.some(
    (entry) =>
      overlaps(entry.subnet, subnet) ||
      (subnetV6 !== undefined &&
        entry.subnetV6 !== undefined &&
        overlaps(entry.subnetV6, subnetV6)),
  );
}

/**
 * The subnets that a node had before if they are free, or else new ones.
 * @throws Failure conflict
 */
export function keepOrChooseSubnets(
  conf: NetConf,
  earlier: Subnets | undefined,
  taken: readonly Subnets[],
): Subnets {
  if (earlier !== undefined && fits(earlier, conf) && !isTaken(earlier, taken)) return earlier;
  const chosen = chooseSubnets(conf, taken, Math.random);
  if (chosen !== undefined) return chosen;
  throw new Failure(
    "conflict",
    `Cannot get a subnet: the network has none free (${taken.length} are taken).`,
    "Make the network larger or SubnetLen longer, or delete the keys of nodes that are gone.",
  );
}

/**
 * Draws free subnets for a node.
 * @param random as Math.random.
 * @returns undefined where none is free.
 */
export function chooseSubnets(
  conf: NetConf,
  taken: readonly Subnets[],
  random: () => number,
): Subnets | undefined {
  const draw = (range: SubnetRange, used: readonly Cidr[]): Cidr | undefined => {
    const free = firstFree(range, used);
    return free[Math.floor(random() * free.length)];
  };
  if (conf.subnets === undefined) return undefined;
  const subnet = draw(
    conf.subnets,
    taken.map((entry) => entry.subnet),
  );
  if (subnet === undefined || conf.ipv6Subnets === undefined) {
    return subnet && { subnet, subnetV6: undefined };
  }
  const subnetV6 = draw(
    conf.ipv6Subnets,
    taken.flatMap((entry) => entry.subnetV6 ?? []),
  );
  return subnetV6 && { subnet, subnetV6 };
}

/** The first free subnets of a range. What is taken may be larger or smaller than a subnet. */
function firstFree({ length, first, last }: SubnetRange, taken: readonly Cidr[]): Cidr[] {
  const { family } = first.address;
  const size = subnetSize(family, length);
  const ordered = taken
    .map(({ address, prefix }) => ({
      start: address.value,
      end: address.value + subnetSize(family, prefix),
    }))
    .toSorted((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const free: Cidr[] = [];
  let next = 0;
  for (let value = first.address.value; value <= last.address.value && free.length < drawn; ) {
    while ((ordered[next]?.end ?? value + 1n) <= value) next++;
    const blocked = blockOf(ordered, next, value, value + size);
    if (blocked === undefined) free.push({ address: { family, value }, prefix: length });
    const end = blocked ?? value;
    // Past all of it: it may be as large as a million subnets.
    value = end > value + size ? ((end + size - 1n) / size) * size : value + size;
  }
  return free;
}

interface Block {
  readonly start: bigint;
  readonly end: bigint;
}

/** The end of the block that overlaps a subnet, if one does. */
function blockOf(
  ordered: readonly Block[],
  from: number,
  start: bigint,
  end: bigint,
): bigint | undefined {
  for (let at = from; at < ordered.length; at++) {
    const block = ordered[at];
    if (block === undefined || block.start >= end) return undefined;
    if (block.end > start) return block.end;
  }
  return undefined;
}

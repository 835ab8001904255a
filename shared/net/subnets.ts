import IpCidr from "ip-cidr";
import type { Address, Family } from "./address.ts";
import { widthOf } from "./address.ts";
import { contains, formatCidr } from "./cidr.ts";
import type { Cidr } from "./cidr.ts";

/** How a network is divided into subnets. */

/**
 * Whether one subnet lies within another, or is the same. It is called for each of thousands of
 * peers.
 */
export function isWithin(inner: Cidr, outer: Cidr): boolean {
  return inner.prefix >= outer.prefix && contains(outer, inner.address);
}

/** The subnet of a prefix length that begins a network, for `at` 0, and those that follow it. */
export function nthSubnet(network: Cidr, prefix: number, at: bigint): Cidr {
  const [first] = boundsOf(network);
  const { family } = network.address;
  return { address: { family, value: first + at * subnetSize(family, prefix) }, prefix };
}

/** How many subnets of a prefix length a network has. */
export function countSubnets(network: Cidr, prefix: number): bigint {
  const [first, last] = boundsOf(network);
  return (last - first + 1n) / subnetSize(network.address.family, prefix);
}

/** Whether an address begins a subnet of a prefix length. */
export function isOnBoundary({ family, value }: Address, prefix: number): boolean {
  return value % subnetSize(family, prefix) === 0n;
}

/** How many addresses a subnet has. */
export function subnetSize(family: Family, prefix: number): bigint {
  return 1n << BigInt(widthOf(family) - prefix);
}

function boundsOf(cidr: Cidr): readonly [first: bigint, last: bigint] {
  return new IpCidr(formatCidr(cidr)).toRange<bigint>({ type: "bigInteger" });
}

import type { Lease } from "../../../shared/flannel/lease.ts";
import { widthOf } from "../../../shared/net/address.ts";
import { contains } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";

/** Subnets of one family and prefix length, by their network bits. */
interface Level {
  readonly family: number;
  readonly prefix: number;
  readonly subnets: Map<number | bigint, Lease>;
}

/**
 * Which lease has which subnet. Nearly always all subnets have the same length, so a look-up needs
 * one table.
 */
export class SubnetClaims {
  readonly #levels = new Map<number, Level>();

  add(lease: Lease): void {
    for (const subnet of subnetsOf(lease)) {
      this.#level(subnet).subnets.set(networkBits(subnet, subnet.prefix), lease);
    }
  }

  remove(lease: Lease): void {
    for (const subnet of subnetsOf(lease)) {
      const level = this.#level(subnet);
      level.subnets.delete(networkBits(subnet, subnet.prefix));
      if (level.subnets.size === 0) this.#levels.delete(keyOf(subnet));
    }
  }

  /** The leases whose subnets overlap those of a lease. */
  rivalsOf(lease: Lease): readonly Lease[] {
    const found = new Set<Lease>();
    for (const subnet of subnetsOf(lease)) {
      for (const level of this.#levels.values()) {
        if (level.family === subnet.address.family) collect(level, subnet, found);
      }
    }
    return [...found];
  }

  #level(subnet: Cidr): Level {
    const key = keyOf(subnet);
    const known = this.#levels.get(key);
    if (known !== undefined) return known;
    const { address, prefix } = subnet;
    const made: Level = { family: address.family, prefix, subnets: new Map() };
    this.#levels.set(key, made);
    return made;
  }
}

function collect({ prefix, subnets }: Level, subnet: Cidr, found: Set<Lease>): void {
  if (prefix <= subnet.prefix) {
    const lease = subnets.get(networkBits(subnet, prefix));
    if (lease !== undefined) found.add(lease);
    return;
  }
  for (const lease of subnets.values()) {
    if (subnetsOf(lease).some(({ address }) => contains(subnet, address))) found.add(lease);
  }
}

function subnetsOf({ subnet, subnetV6 }: Lease): readonly Cidr[] {
  if (subnet === undefined) return subnetV6 === undefined ? [] : [subnetV6];
  return subnetV6 === undefined ? [subnet] : [subnet, subnetV6];
}

function keyOf({ address, prefix }: Cidr): number {
  return address.family * 1000 + prefix;
}

/** A number where possible: as a key it needs no memory of its own. */
function networkBits({ address }: Cidr, prefix: number): number | bigint {
  const bits = address.value >> BigInt(widthOf(address.family) - prefix);
  return address.family === 4 ? Number(bits) : bits;
}

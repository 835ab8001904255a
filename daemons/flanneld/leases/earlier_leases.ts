import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import { sameAddress } from "../../../shared/net/address.ts";
import type { Address } from "../../../shared/net/address.ts";
import { sameCidr } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";

/**
 * The leases of peers as this node can use them: that of a peer which has changed to a backend that this node
 * does not have is the one of before, for the peer still takes what is sent in the old way.
 */
export class EarlierLeases {
  readonly #isKnown: (backendType: string) => boolean;
  readonly #usable = new Map<string, Lease>();

  /** @param isKnown whether this node has a backend, or has had it and still takes its packets. */
  constructor(isKnown: (backendType: string) => boolean) {
    this.#isKnown = isKnown;
  }

  /** As they were last given. */
  get usable(): ReadonlyMap<string, Lease> {
    return this.#usable;
  }

  /**
   * @param changed the ids of leases that are new, other or gone since the last call; undefined for any.
   * @returns the same map at each call.
   */
  update(
    leases: ReadonlyMap<string, Lease>,
    changed: ReadonlySet<string> | undefined,
  ): ReadonlyMap<string, Lease> {
    const gone = [...(changed ?? this.#usable.keys())].filter((id) => !leases.has(id));
    for (const id of gone) this.#usable.delete(id);
    for (const id of changed ?? leases.keys()) {
      const lease = leases.get(id);
      if (lease !== undefined) this.#usable.set(id, this.#usableOf(lease));
    }
    return this.#usable;
  }

  #usableOf(lease: Lease): Lease {
    const before = this.#usable.get(lease.id);
    if (before === undefined || this.#isKnown(lease.attributes.backendType)) return lease;
    const isSame = this.#isKnown(before.attributes.backendType) && isSamePlace(before, lease);
    return isSame ? before : lease;
  }
}

/** Whether a node has the subnets and the addresses that it had. */
function isSamePlace(before: Lease, now: Lease): boolean {
  const pairs: readonly (readonly [Cidr | undefined, Cidr | undefined])[] = [
    [before.subnet, now.subnet],
    [before.subnetV6, now.subnetV6],
  ];
  return (
    pairs.every(([a, b]) => (a === undefined || b === undefined ? a === b : sameCidr(a, b))) &&
    hasAddresses(before.attributes, now.attributes)
  );
}

/** A backend that carries one family publishes no address of the other. */
function hasAddresses(before: LeaseAttributes, now: LeaseAttributes): boolean {
  const pairs: readonly (readonly [Address | undefined, Address | undefined])[] = [
    [before.publicIp, now.publicIp],
    [before.publicIpv6, now.publicIpv6],
  ];
  return pairs.every(([a, b]) => a === undefined || b === undefined || sameAddress(a, b));
}

import type { Churn } from "../../../shared/daemon/churn.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import {
  formatAddress,
  isLoopback,
  isUnspecified,
  sameAddress,
} from "../../../shared/net/address.ts";
import type { Address } from "../../../shared/net/address.ts";
import { contains, formatCidr, overlaps } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import { isWithin } from "../../../shared/net/subnets.ts";
import { ChangedIds } from "./changed_ids.ts";
import type { PeerLeases } from "./lease_manager.ts";
import { SubnetClaims } from "./subnet_claims.ts";

/** What a peer's lease must agree with. */
export interface AdmissionContext {
  /** The networks of all pods; undefined for a family without pods. */
  readonly network: Cidr | undefined;
  readonly ipv6Network: Cidr | undefined;
  /** This node's subnets. */
  readonly ownSubnets: readonly Cidr[];
  /** The addresses that this node tells its peers to send to. */
  readonly ownAddresses: readonly Address[];
  /** The networks that this node is connected to, by other interfaces than flannel's. */
  readonly nodeNetworks: readonly Cidr[];
}

/** The peers that may be routed to, and why the rest may not. */
export interface Admission {
  readonly leases: ReadonlyMap<string, Lease>;
  /** Why not, by the lease's id: a clause to follow a colon. */
  readonly refused: ReadonlyMap<string, string>;
  readonly complete: boolean;
  /** The ids of leases that are new, other or gone since the last update; undefined for any. */
  readonly changed: ReadonlySet<string> | undefined;
}

/**
 * A peer's lease, reduced to the families of the network, or why it is refused: whoever can write a
 * Node object or an etcd key must not take over what this node has.
 */
export function admit(lease: Lease, context: AdmissionContext): Lease | string {
  const { network, ipv6Network } = context;
  const { publicIp, publicIpv6 } = lease.attributes;
  const subnet = network === undefined ? undefined : lease.subnet;
  const subnetV6 = ipv6Network === undefined ? undefined : lease.subnetV6;
  if (subnet === undefined && subnetV6 === undefined) return "it has no subnet";
  const problem =
    familyProblem(subnet, publicIp, network, context) ??
    familyProblem(subnetV6, publicIpv6, ipv6Network, context);
  if (problem !== undefined) return problem;
  const attributes = withoutUnfit(lease.attributes, { subnet, subnetV6 }, context);
  return subnet === lease.subnet && subnetV6 === lease.subnetV6 && attributes === lease.attributes
    ? lease
    : { ...lease, subnet, subnetV6, attributes };
}

/**
 * Attributes without an address that nothing can be sent to: wireguard may send the packets for one family's
 * subnet to the other one's address.
 */
function withoutUnfit(
  attributes: LeaseAttributes,
  { subnet, subnetV6 }: Pick<Lease, "subnet" | "subnetV6">,
  context: AdmissionContext,
): LeaseAttributes {
  const { publicIp, publicIpv6 } = attributes;
  // That of a family with a subnet has been looked at.
  const isFit = (address: Address | undefined, known: Cidr | undefined): boolean =>
    known !== undefined || address === undefined || addressProblem(address, context) === undefined;
  const fit4 = isFit(publicIp, subnet) ? publicIp : undefined;
  const fit6 = isFit(publicIpv6, subnetV6) ? publicIpv6 : undefined;
  return fit4 === publicIp && fit6 === publicIpv6
    ? attributes
    : { ...attributes, publicIp: fit4, publicIpv6: fit6 };
}

function familyProblem(
  subnet: Cidr | undefined,
  publicIp: Address | undefined,
  network: Cidr | undefined,
  context: AdmissionContext,
): string | undefined {
  const { ownSubnets, nodeNetworks } = context;
  if (subnet === undefined || network === undefined) return undefined;
  if (subnet.prefix < network.prefix || !contains(network, subnet.address)) {
    return `its subnet ${formatCidr(subnet)} is outside of the network ${formatCidr(network)}`;
  }
  if (ownSubnets.some((own) => overlaps(own, subnet))) {
    return `its subnet ${formatCidr(subnet)} overlaps this node's`;
  }
  // The nodes' network may contain the pods', as 10.0.0.0/8 contains 10.244.0.0/16.
  const connected = nodeNetworks.find(
    (known) => overlaps(known, subnet) && (isWithin(known, subnet) || !isWithin(network, known)),
  );
  if (connected !== undefined) {
    return `its subnet ${formatCidr(subnet)} overlaps ${formatCidr(connected)} on an interface of this node`;
  }
  if (publicIp === undefined) {
    return `it has no public address for its subnet ${formatCidr(subnet)}`;
  }
  const problem =
    publicIp.family === subnet.address.family
      ? addressProblem(publicIp, context, subnet)
      : unreachable;
  return problem === undefined
    ? undefined
    : `its public address ${formatAddress(publicIp)} ${problem}`;
}

const unreachable = "must be an address that packets can be sent to";

/** @param subnet the peer's own. */
function addressProblem(
  publicIp: Address,
  { ownSubnets, ownAddresses }: Pick<AdmissionContext, "ownSubnets" | "ownAddresses">,
  subnet?: Cidr,
): string | undefined {
  if (!isUnicast(publicIp)) return unreachable;
  if (ownAddresses.some((own) => sameAddress(own, publicIp))) return "is this node's";
  const pods = subnet === undefined ? ownSubnets : [subnet, ...ownSubnets];
  return pods.some((known) => contains(known, publicIp)) ? "is in a subnet of pods" : undefined;
}

function isUnicast(address: Address): boolean {
  if (isUnspecified(address) || isLoopback(address)) return false;
  const { family, value } = address;
  return family === 4 ? value >> 24n !== 0n && value >> 28n < 0xen : value >> 120n !== 0xffn;
}

/** Decides which peers are admitted, and decides again only about those that have changed. */
export class PeerAdmission {
  #context: AdmissionContext;
  readonly #churn: Churn;
  readonly #admitted = new Map<string, Lease>();
  /** The leases as they came, of peers that are refused or admitted in part. */
  readonly #notAsTold = new Map<string, Lease>();
  /** Why peers are refused: for their own lease, or for that of another peer. */
  readonly #refused = new Map<string, string>();
  readonly #conflicts = new Map<string, Lease>();
  readonly #contradicting = new Set<string>();
  #claims = new SubnetClaims();
  readonly #changed = new ChangedIds();
  /** Whether nothing has been decided yet in this context. */
  #isAnew = true;

  constructor(context: AdmissionContext, churn: Churn) {
    this.#context = context;
    this.#churn = churn;
  }

  /** Decides about all peers anew, in another context. */
  restart(context: AdmissionContext): void {
    this.#context = context;
    this.#notAsTold.clear();
    this.#admitted.clear();
    this.#refused.clear();
    this.#conflicts.clear();
    this.#claims = new SubnetClaims();
    this.#changed.addAll(undefined);
    this.#isAnew = true;
  }

  update({ leases, unreadable, complete, changed }: PeerLeases): Admission {
    const ids = this.#isAnew ? undefined : changed;
    this.#isAnew = false;
    for (const id of ids ?? [...this.#notAsTold.keys(), ...this.#admitted.keys()]) {
      const before = this.#notAsTold.get(id) ?? this.#admitted.get(id);
      if (before !== undefined && leases.get(id) !== before) this.#forget(id);
    }
    const candidates = [...this.#conflicts.values()];
    for (const id of ids ?? leases.keys()) {
      const lease = leases.get(id);
      if (lease === undefined || this.#notAsTold.has(id) || this.#admitted.has(id)) continue;
      this.#churn.add(1);
      const admitted = admit(lease, this.#context);
      if (admitted !== lease) this.#notAsTold.set(id, lease);
      if (typeof admitted === "string") this.#refused.set(id, admitted);
      else candidates.push(admitted);
    }
    for (const lease of candidates.toSorted(olderFirst)) {
      this.#churn.add(1);
      this.#settle(lease);
    }
    const refused = new Map([...this.#refused, ...unreadable]);
    return { leases: this.#admitted, refused, complete, changed: this.#changed.take() };
  }

  /** The peers whose subnets have overlapped since the last call. */
  takeConflicts(): readonly string[] {
    const taken = [...this.#contradicting];
    this.#contradicting.clear();
    return taken;
  }

  #forget(id: string): void {
    this.#notAsTold.delete(id);
    this.#refused.delete(id);
    this.#conflicts.delete(id);
    const admitted = this.#admitted.get(id);
    if (admitted === undefined) return;
    this.#withdraw(admitted);
  }

  /** The oldest peer keeps the subnet: a newcomer cannot take it over. */
  #settle(lease: Lease): void {
    const rivals = this.#claims.rivalsOf(lease);
    const older = rivals.find((rival) => olderFirst(rival, lease) < 0);
    if (older !== undefined) {
      this.#lose(lease, older);
      return;
    }
    for (const rival of rivals) {
      this.#withdraw(rival);
      this.#lose(rival, lease);
    }
    this.#conflicts.delete(lease.id);
    this.#refused.delete(lease.id);
    this.#claims.add(lease);
    this.#admitted.set(lease.id, lease);
    this.#changed.add(lease.id);
    if (this.#notAsTold.get(lease.id) === lease) this.#notAsTold.delete(lease.id);
  }

  #withdraw(lease: Lease): void {
    this.#claims.remove(lease);
    this.#admitted.delete(lease.id);
    this.#changed.add(lease.id);
  }

  #lose(lease: Lease, to: Lease): void {
    if (!this.#conflicts.has(lease.id)) this.#contradicting.add(lease.id).add(to.id);
    this.#conflicts.set(lease.id, lease);
    if (!this.#notAsTold.has(lease.id)) this.#notAsTold.set(lease.id, lease);
    this.#refused.set(lease.id, `its subnet is that of ${to.id} already`);
  }
}

function olderFirst(a: Lease, b: Lease): number {
  return a.since - b.since || (a.id < b.id ? -1 : 1);
}

import type { Lease } from "../../shared/flannel/lease.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import { sameAddressOrNone } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { NextHop } from "../../shared/netlink/route.ts";
import type { Backend, ExternalInterface, PeerObjects, WantedDevice } from "./backends/backend.ts";
import type { FamilyState } from "./family_state.ts";
import { subnetConflict } from "./node_routes.ts";
import type { NodeNetworks } from "./node_routes.ts";
import { peerOf, samePeer } from "./peer_state.ts";
import type { PeerState } from "./peer_state.ts";

/** The most peers to process before others get their turn: a few milliseconds of work. */
const slice = 500;

/** What a peer is joined to. */
export interface NodeSide {
  readonly external: ExternalInterface;
  readonly devices: readonly WantedDevice[];
  /** What the node has in each family that no peer's route may take over. */
  readonly networks: ReadonlyMap<Family, NodeNetworks>;
  /** Whether peers have been told what this node is now. */
  readonly isPublished: boolean;
  /** The kernel's next hops to addresses. */
  readonly nextHops: (addresses: readonly Address[]) => readonly (NextHop | undefined)[];
}

/** What all peers of a family have to do with. */
export interface BookFamily {
  /** That of all pods. */
  readonly network: Cidr;
  /** This node's part of it, as far as it is known. */
  readonly ownSubnet: Cidr | undefined;
  readonly state: FamilyState;
}

interface Entry {
  readonly lease: Lease;
  readonly states: readonly PeerState[];
}

/** All peers and what each needs to be reachable. Passes that on to the tables of its family. */
export class PeerBook {
  readonly #backend: Backend;
  readonly #families: ReadonlyMap<Family, BookFamily>;
  /** Peers of which the kernel refuses something. */
  readonly failing = new Set<PeerState>();
  /** Peers that cannot be joined. */
  readonly #refused = new Set<PeerState>();
  readonly #entries = new Map<string, Entry>();
  /** Peers refused because of another peer, until that one goes. */
  readonly #rivals = new Set<PeerState>();
  readonly #nextHops = new Map<bigint, NextHop | undefined>();
  /** How many peers have a public address. */
  readonly #addresses = new Map<bigint, number>();
  #side: NodeSide | undefined;
  #revision = 0;

  constructor(backend: Backend, families: ReadonlyMap<Family, BookFamily>) {
    this.#backend = backend;
    this.#families = families;
  }

  /** Grows whenever a peer is another. */
  get revision(): number {
    return this.#revision;
  }

  get size(): number {
    return this.#entries.size;
  }

  *states(): Iterable<PeerState> {
    for (const { states } of this.#entries.values()) yield* states;
  }

  /** Why peers cannot be joined, by the leases' ids. */
  get refusals(): ReadonlyMap<string, string> {
    const refusals = new Map<string, string>();
    for (const { peer, refusal } of this.#refused) {
      const before = refusals.get(peer.id);
      if (refusal === undefined || refusal === before) continue;
      refusals.set(peer.id, before === undefined ? refusal : `${before}, and ${refusal}`);
    }
    return refusals;
  }

  familyOf(state: PeerState): FamilyState | undefined {
    return this.#families.get(state.peer.subnet.address.family)?.state;
  }

  /** Whether an address is a peer's public one. */
  isPeer({ value }: Address): boolean {
    return this.#addresses.has(value);
  }

  hasPeerOfType(type: string): boolean {
    for (const { lease } of this.#entries.values()) {
      if (lease.attributes.backendType === type) return true;
    }
    return false;
  }

  /**
   * Takes over the leases of all peers. Releases what is no longer needed before it claims what is.
   * It is a generator, so that others get their turn after each slice; the kernel must not be
   * changed before it ends.
   * @param ids of leases that may be new, changed or gone; undefined for any.
   * @returns by yielding, the peers that are new or have changed.
   */
  *update(
    leases: ReadonlyMap<string, Lease>,
    ids?: ReadonlySet<string>,
  ): Generator<readonly PeerState[]> {
    const changed: Lease[] = [];
    for (const id of ids ?? this.#entries.keys()) this.#release(id, leases.get(id));
    for (const id of ids ?? leases.keys()) {
      const lease = leases.get(id);
      if (lease !== undefined && this.#entries.get(id)?.lease !== lease) changed.push(lease);
    }
    for (let at = 0; at < changed.length; at += slice) {
      const made = changed.slice(at, at + slice).flatMap((lease) => this.#enter(lease));
      this.#joinAll(made);
      yield made;
    }
    this.#joinAll([...this.#rivals]);
  }

  /** Joins all peers again, because the device or the interface has changed. */
  *surround(side: NodeSide): Generator<void> {
    this.#side = side;
    this.#nextHops.clear();
    const states = [...this.states()];
    const before = states.map(({ objects }) => objects);
    this.#rivals.clear();
    this.#releaseAll(states);
    // The kernel may now accept what it has refused before.
    for (const state of states) {
      if (state.failure !== undefined) state.failure = { ...state.failure, retryAt: 0 };
    }
    for (let at = 0; at < states.length; at += slice) {
      const part = states.slice(at, at + slice);
      this.#joinAll(part);
      for (const [index, state] of part.entries()) {
        if (!sameObjects(before[at + index], state.objects)) state.wasProgrammed = false;
      }
      yield;
    }
  }

  /**
   * Asks the kernel again for the next hops to peers, and joins those again whose next hop has
   * changed.
   */
  *askNextHops(): Generator<void> {
    const states = [...this.states()].filter(({ peer }) => this.#backend.asksNextHop(peer));
    for (let at = 0; at < states.length; at += slice) {
      const part = states.slice(at, at + slice);
      const moved = this.#askAgain(part);
      this.#releaseAll(moved);
      for (const state of moved) state.wasProgrammed = false;
      this.#joinAll(moved);
      yield;
    }
  }

  /** Releases what a peer needs no longer, as its lease is another now, or gone. */
  #release(id: string, now: Lease | undefined): void {
    const entry = this.#entries.get(id);
    if (entry === undefined || now === entry.lease) return;
    const { states } = entry;
    if (now === undefined) this.#remove(id, states);
    else if (this.#isSame(now, states)) this.#entries.set(id, { lease: now, states });
    else this.#releaseAll(states);
  }

  #remove(id: string, states: readonly PeerState[]): void {
    this.#releaseAll(states);
    this.#leave(states);
    this.#entries.delete(id);
  }

  #leave(states: readonly PeerState[]): void {
    this.#revision++;
    for (const state of states) {
      this.#rivals.delete(state);
      this.#refused.delete(state);
      this.failing.delete(state);
      const { value } = state.peer.publicIp;
      const left = (this.#addresses.get(value) ?? 1) - 1;
      if (left > 0) {
        this.#addresses.set(value, left);
        continue;
      }
      this.#addresses.delete(value);
      this.#nextHops.delete(value);
    }
  }

  #releaseAll(states: readonly PeerState[]): void {
    for (const state of states) this.familyOf(state)?.release(state);
  }

  #isSame(lease: Lease, states: readonly PeerState[]): boolean {
    const peers = this.#peersOf(lease);
    return (
      peers.length === states.length &&
      peers.every((peer, at) => {
        const known = states[at];
        return known !== undefined && samePeer(peer, known.peer);
      })
    );
  }

  #peersOf(lease: Lease) {
    return [...this.#families.keys()].flatMap((family) => peerOf(lease, family) ?? []);
  }

  #enter(lease: Lease): PeerState[] {
    const before = this.#entries.get(lease.id);
    this.#leave(before?.states ?? []);
    const states = this.#peersOf(lease).map(
      (peer): PeerState => ({
        ...{ peer, objects: undefined, refusal: undefined, failure: undefined },
        ...{ wasKnown: before !== undefined, wasProgrammed: false },
      }),
    );
    this.#entries.set(lease.id, { lease, states });
    for (const { peer } of states) {
      const { value } = peer.publicIp;
      this.#addresses.set(value, (this.#addresses.get(value) ?? 0) + 1);
    }
    return states;
  }

  #joinAll(states: readonly PeerState[]): void {
    const side = this.#side;
    if (side === undefined) return;
    this.#askNew(states, side);
    for (const state of states) this.#join(state, side);
  }

  #join(state: PeerState, side: NodeSide): void {
    const { peer } = state;
    const { family } = peer.subnet.address;
    const own = this.#families.get(family);
    if (own === undefined) return;
    const taken = side.networks.get(family);
    const joined =
      (taken === undefined
        ? undefined
        : subnetConflict(peer.subnet, own.network, own.ownSubnet, taken)) ??
      this.#backend.join(peer, {
        external: side.external,
        devices: side.devices,
        nextHop: this.#nextHops.get(peer.publicIp.value),
        isPublished: side.isPublished,
      });
    state.objects = typeof joined === "string" ? undefined : joined;
    state.refusal = typeof joined === "string" ? joined : undefined;
    if (state.refusal === undefined) this.#refused.delete(state);
    else this.#refused.add(state);
    this.#rivals.delete(state);
    const rival = state.objects === undefined ? undefined : own.state.claim(state);
    if (rival === undefined) return;
    state.objects = undefined;
    state.refusal = `has the subnet, the VTEP MAC or the public key of ${rival.peer.id}`;
    this.#rivals.add(state);
    this.#refused.add(state);
  }

  #askNew(states: readonly PeerState[], side: NodeSide): void {
    const asked = states.flatMap(({ peer }) =>
      this.#backend.asksNextHop(peer) && !this.#nextHops.has(peer.publicIp.value)
        ? [peer.publicIp]
        : [],
    );
    const answers = asked.length === 0 ? [] : side.nextHops(asked);
    for (const [at, { value }] of asked.entries()) this.#nextHops.set(value, answers[at]);
  }

  #askAgain(states: readonly PeerState[]): PeerState[] {
    if (this.#side === undefined) return [];
    const answers = this.#side.nextHops(states.map(({ peer }) => peer.publicIp));
    return states.filter(({ peer: { publicIp } }, at) => {
      const [before, now] = [this.#nextHops.get(publicIp.value), answers[at]];
      this.#nextHops.set(publicIp.value, now);
      return !sameNextHop(before, now);
    });
  }
}

function sameObjects(a: PeerObjects | undefined, b: PeerObjects | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.vtepMac === b.vtepMac &&
    a.wireguard?.publicKey === b.wireguard?.publicKey &&
    a.link === b.link &&
    sameAddressOrNone(a.gateway, b.gateway)
  );
}

function sameNextHop(a: NextHop | undefined, b: NextHop | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.link === b.link && sameAddressOrNone(a.gateway, b.gateway);
}

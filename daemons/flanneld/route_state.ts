import { formatAddress } from "../../shared/net/address.ts";
import { formatCidr } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { isWithin } from "../../shared/net/subnets.ts";
import { usualMetric } from "../../shared/netlink/route.ts";
import type { NewRoute, TableRoute } from "../../shared/netlink/route.ts";
import { DeltaTable } from "./delta_table.ts";
import {
  blackholeMetric,
  decideRoute,
  flannelProtocol,
  isOwnRoute,
  isSameRoute,
} from "./node_routes.ts";
import type { RouteDecision, RouteOwnership } from "./node_routes.ts";
import type { PeerState } from "./peer_state.ts";
import type { PlannedChange, Rests } from "./planned_change.ts";

/** A route that drops packets to unused addresses of a subnet. */
interface Blackhole {
  readonly blackhole: Cidr;
}

/** A route through a device for all of a network. */
interface Whole {
  readonly whole: Cidr;
  readonly device: string;
}

type Owner = PeerState | Blackhole | Whole;

/** A subnet as a key. */
type Place = number | string;

/** One family's routes: those that peers need, and those of the main table that matter for them. */
export class RouteState {
  readonly #ownership: RouteOwnership;
  readonly #indexOf: (device: string) => number;
  readonly #routes: DeltaTable<Place, Owner, readonly TableRoute[]>;

  /** @param indexOf the index of a device that routes lead through, or 0 while there is none. */
  constructor(ownership: RouteOwnership, indexOf: (device: string) => number) {
    this.#ownership = ownership;
    this.#indexOf = indexOf;
    this.#routes = new DeltaTable({
      isRight: ({ wanted, present = [] }) => {
        const { set, stale, conflict } = this.#decide(wanted, present);
        return set === "no" && stale.length === 0 && conflict === undefined;
      },
      made: (wanted) => {
        const route = this.#routeOf(wanted);
        return route && [asListed(route)];
      },
      isAsMade: (wanted, present) => this.#routeOf(wanted) !== undefined && present.length === 1,
    });
  }

  /** Grows whenever something is wanted or learned. */
  get revision(): number {
    return this.#routes.revision;
  }

  get hasPending(): boolean {
    return this.#routes.pending.size > 0;
  }

  /** Whose subnet it is already. */
  ownerOf(subnet: Cidr): PeerState | undefined {
    const owner = this.#routes.wantedAt(keyOf(subnet));
    return owner === undefined || !isPeer(owner) ? undefined : owner;
  }

  want(state: PeerState): void {
    const { objects } = state;
    if (objects !== undefined && objects.link !== "none")
      this.#routes.want(keyOf(state.peer.subnet), state);
  }

  release(state: PeerState): void {
    this.#routes.release(keyOf(state.peer.subnet), state);
  }

  /** Wants all of a network to lead through a device where no better route leads on, or through none. */
  wantWhole(network: Cidr, device: string | undefined): void {
    const key = keyOf(network);
    const owner = this.#routes.wantedAt(key);
    const before = owner !== undefined && "whole" in owner ? owner.device : undefined;
    if (device === before) return;
    if (device === undefined) this.#routes.want(key, undefined);
    else if (owner === undefined || before !== undefined) {
      this.#routes.want(key, { whole: network, device });
    }
  }

  /** Sets the subnets whose packets are dropped where no better route exists. */
  wantBlackholes(subnets: readonly Cidr[]): void {
    const keys = new Map(subnets.map((subnet) => [keyOf(subnet), subnet]));
    for (const [key, owner] of [...this.#routes.wanted()]) {
      if (isBlackhole(owner) && !keys.has(key)) this.#routes.want(key, undefined);
    }
    for (const [key, blackhole] of keys) this.#routes.want(key, { blackhole });
  }

  isProgrammed({ peer }: PeerState): boolean {
    return !this.#routes.pending.has(keyOf(peer.subnet));
  }

  /** Compares all routes again after a change of the device. */
  reviewAfter(change: () => void): void {
    this.#routes.reviewAfter(change);
  }

  /** Whether a route may be one of flanneld's, or in the way of one. */
  isRelevant({ dst, link }: TableRoute): boolean {
    const { networks, isDevice } = this.#ownership;
    return isDevice(link) || networks.some((network) => isWithin(dst, network));
  }

  /** @param routes those that {@link isRelevant} is true of. */
  learnAll(routes: readonly TableRoute[]): void {
    const byPlace = new Map<Place, TableRoute[]>();
    for (const route of routes) {
      const key = keyOf(route.dst);
      const known = byPlace.get(key);
      if (known === undefined) byPlace.set(key, [route]);
      else known.push(route);
    }
    this.#routes.learnAll(byPlace);
  }

  /**
   * Learns of one change of a relevant route.
   * @returns whether a foreign route may be in the way, so that all have to be read.
   */
  learn(route: TableRoute, isGone: boolean): boolean {
    const key = keyOf(route.dst);
    const { wanted, present = [] } = this.#routes.get(key) ?? {};
    const own = wanted === undefined ? undefined : this.#routeOf(wanted);
    if (own !== undefined && !isSameRoute(own, route)) return true;
    const remaining = present.filter((known) => !isSameListed(known, route));
    this.#learn(key, isGone ? remaining : [...remaining, route]);
    return false;
  }

  /**
   * The routes that peers lack, and the wrong ones to delete.
   * @param onConflict told of each peer that another program's route blocks.
   */
  *missing(
    rests: Rests,
    onConflict: (owner: PeerState, message: string) => void,
  ): Iterable<PlannedChange> {
    for (const key of this.#routes.pending) {
      const { wanted, present = [] } = this.#routes.get(key) ?? {};
      const route = wanted === undefined ? undefined : this.#routeOf(wanted);
      if (wanted === undefined || route === undefined) continue;
      const owner = isPeer(wanted) ? wanted : undefined;
      if (owner !== undefined && rests(owner)) continue;
      const { set, stale, conflict } = this.#decide(wanted, present);
      if (conflict !== undefined && owner !== undefined) {
        onConflict(owner, conflictMessage(conflict));
      }
      if (set !== "no") yield this.#setting(key, route, owner, set === "replace");
      yield* this.#deletions(key, stale);
    }
  }

  /** What no peer wants. */
  *stale(): Iterable<PlannedChange> {
    for (const key of this.#routes.pending) {
      const { wanted, present = [] } = this.#routes.get(key) ?? {};
      if (wanted === undefined) yield* this.#deletions(key, this.#decide(wanted, present).stale);
    }
  }

  #setting(
    key: Place,
    route: NewRoute,
    owner: PeerState | undefined,
    replace: boolean,
  ): PlannedChange {
    return {
      change: { kind: "set-route", route, replace },
      owner,
      made: () => {
        const made = asListed(route);
        const { present = [] } = this.#routes.get(key) ?? {};
        // A replaced route has the same metric.
        const remaining = present.filter((known) => !replace || known.metric !== made.metric);
        this.#learn(key, [...remaining, made]);
      },
    };
  }

  *#deletions(key: Place, routes: readonly TableRoute[]): Iterable<PlannedChange> {
    for (const route of routes) {
      yield {
        change: { kind: "delete-route", route },
        owner: undefined,
        made: () => {
          const { present = [] } = this.#routes.get(key) ?? {};
          this.#learn(
            key,
            present.filter((known) => known !== route),
          );
        },
      };
    }
  }

  #learn(key: Place, routes: readonly TableRoute[]): void {
    this.#routes.learn(key, routes.length === 0 ? undefined : routes);
  }

  #decide(wanted: Owner | undefined, present: readonly TableRoute[]): RouteDecision {
    const route = wanted === undefined ? undefined : this.#routeOf(wanted);
    return decideRoute(route, present, (known) => this.#isOwn(known, wanted !== undefined));
  }

  #isOwn(route: TableRoute, isWanted: boolean): boolean {
    return isOwnRoute(route, isWanted, this.#ownership);
  }

  /** Undefined while the device that it would lead through is not there. */
  #routeOf(owner: Owner): NewRoute | undefined {
    if (isBlackhole(owner)) {
      const metric = blackholeMetric;
      return { dst: owner.blackhole, via: "blackhole", protocol: flannelProtocol, metric };
    }
    if (!isPeer(owner)) {
      const link = this.#indexOf(owner.device);
      if (link === 0) return undefined;
      const via = { gateway: undefined, link, onlink: false };
      return { dst: owner.whole, via, protocol: flannelProtocol, metric: undefined };
    }
    const { objects, peer } = owner;
    if (objects === undefined || objects.link === "none") return undefined;
    const { gateway } = objects;
    const isOwn = typeof objects.link === "string";
    const link = typeof objects.link === "string" ? this.#indexOf(objects.link) : objects.link;
    if (link === 0) return undefined;
    const via = { gateway, link, onlink: isOwn && gateway !== undefined };
    return { dst: peer.subnet, via, protocol: flannelProtocol, metric: undefined };
  }
}

function isPeer(owner: Owner): owner is PeerState {
  return "peer" in owner;
}

function isBlackhole(owner: Owner): owner is Blackhole {
  return "blackhole" in owner;
}

function keyOf({ address, prefix }: Cidr): Place {
  // A number needs no memory of its own.
  if (address.family === 4) return Number(address.value) * 64 + prefix;
  return `${address.value.toString(36)}/${prefix}`;
}

/** A route as the kernel lists it once it is made. */
function asListed({ dst, via, protocol, metric }: NewRoute): TableRoute {
  const common = {
    ...{ dst, protocol, multipath: false },
    metric: metric ?? usualMetric(dst.address.family),
  };
  return via === "blackhole"
    ? { ...common, type: "blackhole", gateway: undefined, link: 0, onlink: false }
    : { ...common, ...via, type: "unicast" };
}

function isSameListed(a: TableRoute, b: TableRoute): boolean {
  return (
    a.type === b.type &&
    a.link === b.link &&
    a.protocol === b.protocol &&
    a.metric === b.metric &&
    a.gateway?.value === b.gateway?.value
  );
}

function conflictMessage({ dst, gateway }: TableRoute): string {
  const by = gateway === undefined ? "" : ` by ${formatAddress(gateway)}`;
  return `another program has a route to ${formatCidr(dst)}${by}`;
}

import type { Family } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { RouteOwnership } from "./node_routes.ts";
import type { PeerState } from "./peer_state.ts";
import type { PlannedChange, Rests } from "./planned_change.ts";
import { RouteState } from "./route_state.ts";
import { TunnelState } from "./tunnel_state.ts";
import type { WireguardState } from "./wireguard_state.ts";

/**
 * One family's neighbours, forwarding entries and routes: the wanted and the present ones. It does
 * not talk to the kernel: it is told what is present, and says what to change.
 */
export class FamilyState {
  readonly family: Family;
  readonly routes: RouteState;
  readonly #indexes = new Map<string, number>();
  /** Of those devices that have entries for peers. */
  readonly #tunnels = new Map<string, TunnelState>();

  /** Undefined for a backend that does not encrypt. Both families may have the same. */
  readonly wireguard: WireguardState | undefined;

  constructor(family: Family, ownership: RouteOwnership, wireguard?: WireguardState) {
    this.family = family;
    this.wireguard = wireguard;
    this.routes = new RouteState(ownership, (device) => this.#indexes.get(device) ?? 0);
  }

  /** Learns the indexes of the devices that are there, by their names. */
  learnDevices(indexes: ReadonlyMap<string, number>): void {
    const names = new Set([...this.#indexes.keys(), ...indexes.keys()]);
    const changed = [...names].filter((name) => this.#indexes.get(name) !== indexes.get(name));
    if (changed.length === 0) return;
    this.routes.reviewAfter(() => {
      for (const name of changed) {
        const index = indexes.get(name);
        if (index === undefined) this.#indexes.delete(name);
        else this.#indexes.set(name, index);
        this.tunnel(name).learnDevice(index ?? 0);
      }
    });
  }

  /** The neighbours and forwarding entries of a device. */
  tunnel(device: string): TunnelState {
    const known = this.#tunnels.get(device);
    if (known !== undefined) return known;
    const made = new TunnelState();
    this.#tunnels.set(device, made);
    return made;
  }

  /** The same by the device's index; undefined for one that is none of flanneld's. */
  tunnelAt(index: number): TunnelState | undefined {
    return index === 0
      ? undefined
      : [...this.#tunnels.values()].find(({ device }) => device === index);
  }

  /**
   * Claims what a peer needs, unless another peer has it.
   * @returns the peer that has it, if one does.
   */
  claim(state: PeerState): PeerState | undefined {
    const mac = state.objects?.vtepMac;
    const rival =
      this.routes.ownerOf(state.peer.subnet) ??
      (mac === undefined ? undefined : this.#tunnelOf(state)?.ownerOf(mac)) ??
      this.wireguard?.rivalOf(state);
    if (rival !== undefined && rival !== state) return rival;
    this.#tunnelOf(state)?.want(state);
    this.wireguard?.want(state);
    this.routes.want(state);
    return undefined;
  }

  /** Releases what a peer needed. */
  release(state: PeerState): void {
    this.#tunnelOf(state)?.release(state);
    this.wireguard?.release(state);
    this.routes.release(state);
  }

  /** Wants packets to these subnets dropped where no better route leads on. */
  wantBlackholes(subnets: readonly Cidr[]): void {
    this.routes.wantBlackholes(subnets);
  }

  /** Wants all of a network to lead through a device, or through none. */
  wantWhole(network: Cidr, device: string | undefined): void {
    this.routes.wantWhole(network, device);
  }

  /** Grows whenever something is wanted or learned. */
  get revision(): number {
    let { revision } = this.routes;
    for (const tunnel of this.#tunnels.values()) revision += tunnel.revision;
    return revision;
  }

  /** Whether anything differs from what is wanted, whenever it is to be changed. */
  get hasPending(): boolean {
    return (
      this.routes.hasPending ||
      this.wireguard?.hasPending === true ||
      [...this.#tunnels.values()].some(({ hasPending }) => hasPending)
    );
  }

  /** Whether all that a peer needs is there. */
  isProgrammed(state: PeerState): boolean {
    return (
      state.objects !== undefined &&
      this.#tunnelOf(state)?.isProgrammed(state) !== false &&
      this.wireguard?.isProgrammed(state) !== false &&
      this.routes.isProgrammed(state)
    );
  }

  /**
   * What to change, in an order in which nothing leads to what does not exist yet.
   * @param canDelete whether all peers are known, so that what none of them needs can be deleted.
   * @param onConflict told of each peer that another program's route blocks.
   */
  *changes(
    rests: Rests,
    canDelete: boolean,
    onConflict: (owner: PeerState, message: string) => void,
  ): Iterable<PlannedChange> {
    for (const tunnel of this.#tunnels.values()) yield* tunnel.missing(rests);
    yield* this.routes.missing(rests, onConflict);
    if (!canDelete) return;
    yield* this.routes.stale();
    for (const tunnel of this.#tunnels.values()) yield* tunnel.stale();
  }

  /** Undefined for a peer whose packets are not tunnelled. */
  #tunnelOf({ objects }: PeerState): TunnelState | undefined {
    if (objects?.vtepMac === undefined || typeof objects.link !== "string") return undefined;
    return this.tunnel(objects.link);
  }
}

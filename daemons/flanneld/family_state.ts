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
  readonly tunnel = new TunnelState();
  readonly routes: RouteState;

  /** Undefined for a backend that does not encrypt. Both families may have the same. */
  readonly wireguard: WireguardState | undefined;

  constructor(family: Family, ownership: RouteOwnership, wireguard?: WireguardState) {
    this.family = family;
    this.wireguard = wireguard;
    this.routes = new RouteState(ownership, () => this.tunnel.device);
  }

  /** Learns the device's index; 0 where there is none. */
  learnDevice(index: number): void {
    if (index === this.tunnel.device) return;
    this.routes.reviewAfter(() => {
      this.tunnel.learnDevice(index);
    });
  }

  /**
   * Claims what a peer needs, unless another peer has it.
   * @returns the peer that has it, if one does.
   */
  claim(state: PeerState): PeerState | undefined {
    const mac = state.objects?.vtepMac;
    const rival =
      this.routes.ownerOf(state.peer.subnet) ??
      (mac === undefined ? undefined : this.tunnel.ownerOf(mac)) ??
      this.wireguard?.rivalOf(state);
    if (rival !== undefined && rival !== state) return rival;
    this.tunnel.want(state);
    this.wireguard?.want(state);
    this.routes.want(state);
    return undefined;
  }

  /** Releases what a peer needed. */
  release(state: PeerState): void {
    this.tunnel.release(state);
    this.wireguard?.release(state);
    this.routes.release(state);
  }

  /** Wants packets to these subnets dropped where no better route leads on. */
  wantBlackholes(subnets: readonly Cidr[]): void {
    this.routes.wantBlackholes(subnets);
  }

  /** Wants all of a network to lead through the device, or no longer. */
  wantWhole(network: Cidr, isWanted: boolean): void {
    this.routes.wantWhole(network, isWanted);
  }

  /** Grows whenever something is wanted or learned. */
  get revision(): number {
    return this.tunnel.revision + this.routes.revision;
  }

  /** Whether anything differs from what is wanted, whenever it is to be changed. */
  get hasPending(): boolean {
    return this.tunnel.hasPending || this.wireguard?.hasPending === true || this.routes.hasPending;
  }

  /** Whether all that a peer needs is there. */
  isProgrammed(state: PeerState): boolean {
    return (
      state.objects !== undefined &&
      this.tunnel.isProgrammed(state) &&
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
    yield* this.tunnel.missing(rests);
    yield* this.routes.missing(rests, onConflict);
    if (!canDelete) return;
    yield* this.routes.stale();
    yield* this.tunnel.stale();
  }
}

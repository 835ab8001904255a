import type { Family } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { TableRoute } from "../../shared/netlink/route.ts";
import type { Backend, Networks, WantedDevice } from "./backends/backend.ts";
import { ConnectedNetworks } from "./connected_networks.ts";
import { deleteStaleDevices, keepDevices } from "./device_keeper.ts";
import type { DevicesSeen } from "./device_keeper.ts";
import { FamilyState } from "./family_state.ts";
import { LastLook } from "./last_look.ts";
import type { RouteOwnership } from "./node_routes.ts";
import type { OverlayKernel } from "./overlay_kernel.ts";
import { keepAddresses, subnetOf } from "./own_side.ts";
import type { OwnSide } from "./own_side.ts";
import { PeerBook } from "./peer_book.ts";
import type { BookFamily } from "./peer_book.ts";
import type { PeerState } from "./peer_state.ts";
import type { PlannedChange, Rests } from "./planned_change.ts";
import { WireguardState } from "./wireguard_state.ts";

export interface OverlaySettings {
  readonly kernel: OverlayKernel;
  readonly backend: Backend;
  readonly networks: Networks;
  /** Networks that this flanneld had before, according to subnet.env. */
  readonly previousNetworks: readonly Cidr[];
  /** Whether packets to addresses of the own subnets that no pod has are dropped. */
  readonly blackholes: boolean;
}

/** Backends whose peers send to a device of this node's. */
const typesOfDevices = ["vxlan", "ipip", "wireguard"];

const noDevices: DevicesSeen = {
  indexes: new Map(),
  all: new Set(),
  changes: [],
  problems: [],
  parent: undefined,
};

/** What the kernel must have and what it has, for devices and each family. */
export class OverlayState {
  readonly book: PeerBook;
  readonly families: ReadonlyMap<Family, BookFamily>;
  readonly #wireguards: readonly WireguardState[];
  readonly #settings: OverlaySettings;
  #own: OwnSide | undefined;
  #wantedDevices: readonly WantedDevice[] = [];
  #seen: DevicesSeen = noDevices;
  readonly #connected: ConnectedNetworks;
  /** Whether this node's side is another since the devices were last looked at. */
  #isNewSide = false;
  #isFollowing = false;
  /** Whether all peers have to be joined again, because the device or the interface has changed. */
  #isMoved = false;
  /** Grows whenever this node's own side is another. */
  #ownRevision = 0;
  readonly #lastLook: LastLook;

  constructor(settings: OverlaySettings) {
    this.#settings = settings;
    const { ipv4, ipv6 } = settings.networks;
    const names = settings.backend.wireguardDevices ?? new Map<Family, string>();
    this.#wireguards = [...new Set(names.values())].map((name) => new WireguardState(name));
    const families = new Map<Family, BookFamily>();
    for (const [family, network] of [
      [4, ipv4],
      [6, ipv6],
    ] as const) {
      if (network === undefined) continue;
      const ownSubnet = () => this.#own && subnetOf(this.#own, family);
      families.set(family, {
        network,
        get ownSubnet() {
          return ownSubnet();
        },
        state: new FamilyState(
          family,
          this.#ownership(family, network),
          this.#wireguards.find(({ name }) => name === names.get(family)),
        ),
      });
    }
    this.families = families;
    this.book = new PeerBook(settings.backend, families);
    this.#connected = new ConnectedNetworks({
      networks: this.#networks(),
      isDevice: (link) => this.#seen.all.has(link),
      isPeer: (address) => this.book.isPeer(address),
    });
    this.#lastLook = new LastLook(
      () => this.#digest(),
      () => this.#revision(),
    );
  }

  get own(): OwnSide | undefined {
    return this.#own;
  }

  get seen(): DevicesSeen {
    return this.#seen;
  }

  get wantedDevices(): readonly WantedDevice[] {
    return this.#wantedDevices;
  }

  configure(given: OwnSide): void {
    const { backend, blackholes } = this.#settings;
    const own = { ...given, external: keepAddresses(given.external, this.#own?.external) };
    this.#own = own;
    this.#ownRevision++;
    this.#isMoved = true;
    this.#isNewSide = true;
    this.#wantedDevices = backend.devices(own.lease, own.external, own.macs);
    for (const [family, { network, state }] of this.families) {
      const subnet = subnetOf(own, family);
      const whole = this.#devicesOf(family).find(({ takesAll }) => takesAll === true);
      state.wantWhole(network, whole?.name);
      state.wantBlackholes(blackholes && subnet !== undefined ? [subnet] : []);
    }
  }

  /** Whether the backend encrypts what it sends to its peers. */
  get isEncrypting(): boolean {
    return this.#wireguards.length > 0;
  }

  /** Whether peers have to be joined again before it is known what none of them needs. */
  get isMoved(): boolean {
    return this.#isMoved;
  }

  /** Why the devices, or the interface, are not as they should be. */
  get problems(): readonly string[] {
    const external = this.#own?.external;
    const problem = external && this.#settings.backend.problem(external);
    return problem === undefined ? this.#seen.problems : [problem, ...this.#seen.problems];
  }

  /** Whether devices had to change because this node's side has, and not by another's hand. */
  get isFollowing(): boolean {
    return this.#isFollowing;
  }

  /**
   * Makes the devices as they should be.
   * @returns whether routes and entries of a device may be gone.
   */
  keepDevices(): boolean {
    const before = this.#seen;
    const isNewSide = this.#isNewSide;
    this.#isNewSide = false;
    this.#seen = keepDevices(
      this.#settings.kernel,
      this.#wantedDevices,
      this.#own?.external.name ?? "",
      ({ family }) => this.families.get(family)?.network,
    );
    this.#isFollowing = isNewSide || this.#seen.parent !== before.parent;
    for (const { state } of this.families.values()) {
      const names = new Set(this.#devicesOf(state.family).map(({ name }) => name));
      state.learnDevices(new Map([...this.#seen.indexes].filter(([name]) => names.has(name))));
    }
    for (const wireguard of this.#wireguards) this.#learnWireguard(wireguard);
    const isSame = this.#wantedDevices.every(
      ({ name }) => before.indexes.get(name) === this.#seen.indexes.get(name),
    );
    const isMore = !isSame || this.#seen.changes.length > 0;
    if (isMore) this.#ownRevision++;
    return isMore;
  }

  #learnWireguard(wireguard: WireguardState): void {
    const index = this.#seen.indexes.get(wireguard.name) ?? 0;
    const device = index === 0 ? undefined : this.#settings.kernel.wireguard(index);
    wireguard.learn(index, device?.peers ?? [], Date.now() / 1000);
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
    for (const wireguard of this.#wireguards) yield* wireguard.missing(rests);
    for (const { state } of this.families.values()) {
      yield* state.changes(rests, canDelete, onConflict);
    }
    if (!canDelete) return;
    for (const wireguard of this.#wireguards) yield* wireguard.stale();
  }

  /**
   * Learns what the kernel has. It is a generator, so that others get their turn between dumps.
   * @throws Failure kernel
   */
  *learn(): Generator<void> {
    if (this.#lastLook.begin()) {
      yield* this.#join();
      return;
    }
    const { kernel } = this.#settings;
    for (const { state } of this.families.values()) {
      for (const { name, index } of this.#tunnelsOf(state.family)) {
        const tunnel = state.tunnel(name);
        tunnel.learnNeighbours(kernel.neighbours(state.family, index));
        yield;
        tunnel.learnFdb(kernel.fdb(index));
        yield;
      }
      this.#learnRoutes(state, kernel.routes(state.family));
      yield;
    }
    yield* this.#join();
    this.#lastLook.end();
  }

  /** Notes that the kernel has told of something, which may be in the middle of a look. */
  noteEvent(): void {
    this.#lastLook.disturb();
  }

  #digest(): string | undefined {
    const digests = [...this.families.keys()].map((family) =>
      this.#settings.kernel.digest(
        family,
        this.#tunnelsOf(family).map(({ index }) => index),
      ),
    );
    return digests.includes(undefined) ? undefined : digests.join("\n");
  }

  #revision(): number {
    let revision = this.#ownRevision + this.book.revision;
    for (const { state } of this.families.values()) revision += state.revision;
    return revision;
  }

  /**
   * Notices networks on links that the kernel's events have not told of yet, for a peer may announce
   * the very same.
   * @returns whether there are any.
   * @throws Failure kernel
   */
  noticeNetworks(): boolean {
    const { kernel } = this.#settings;
    let isAny = false;
    for (const [family, { network, state }] of this.families) {
      if (!this.#connected.known.has(family)) continue;
      const addresses = kernel.interfaceAddresses(family);
      const isNew = addresses.some((address) => this.#connected.isNews(address, network));
      if (!isNew) continue;
      this.#learnRoutes(state, kernel.routes(family));
      isAny = true;
    }
    return isAny;
  }

  /**
   * Deletes devices of flannel's that nobody needs.
   * @returns their names; undefined while peers may still send to them.
   */
  deleteStaleDevices(): readonly string[] | undefined {
    const { kernel, backend } = this.#settings;
    // A cluster changes its backend node by node.
    for (const type of typesOfDevices) {
      if (backend.type !== type && this.book.hasPeerOfType(type)) return undefined;
    }
    const stale = deleteStaleDevices(kernel, this.#wantedDevices, this.#networks());
    return stale.map(({ name }) => name);
  }

  /** Whether a route tells what this node is connected to, apart from peers. */
  isNodeRoute(route: TableRoute): boolean {
    return this.#connected.isNodeRoute(route);
  }

  /** Whether the next hops to peers matter. */
  get asksNextHops(): boolean {
    for (const { peer } of this.book.states()) {
      if (this.#settings.backend.asksNextHop(peer)) return true;
    }
    return false;
  }

  *#join(): Generator<void> {
    const own = this.#own;
    if (own === undefined) return;
    const { kernel } = this.#settings;
    if (!this.#isMoved) {
      yield* this.book.askNextHops();
      return;
    }
    this.#isMoved = false;
    yield* this.book.surround({
      external: own.external,
      devices: this.#wantedDevices,
      networks: this.#connected.known,
      isPublished: own.isPublished,
      nextHops: (addresses) => kernel.nextHops(addresses),
    });
  }

  #learnRoutes(state: FamilyState, routes: readonly TableRoute[]): void {
    state.routes.learnAll(routes.filter((route) => state.routes.isRelevant(route)));
    if (this.#connected.learn(state.family, routes, this.#own?.external)) this.#isMoved = true;
  }

  #devicesOf(family: Family): readonly WantedDevice[] {
    return this.#wantedDevices.filter((wanted) => wanted.family === family);
  }

  /** The devices that are there and have entries for peers. */
  #tunnelsOf(family: Family) {
    return this.#devicesOf(family).flatMap(({ kind, name }) => {
      const index = this.#seen.indexes.get(name);
      return kind !== "vxlan" || index === undefined ? [] : [{ name, index }];
    });
  }

  #networks(): readonly Cidr[] {
    const { networks, previousNetworks } = this.#settings;
    const { ipv4, ipv6 } = networks;
    return [ipv4, ipv6, ...previousNetworks].filter((network) => network !== undefined);
  }

  #ownership(family: Family, network: Cidr): RouteOwnership {
    const { previousNetworks, backend } = this.#settings;
    const before = previousNetworks.filter(({ address }) => address.family === family);
    const ownSubnets = (): readonly Cidr[] => {
      const subnet = this.#own && subnetOf(this.#own, family);
      return subnet === undefined ? [] : [subnet];
    };
    return {
      networks: [network, ...before],
      get ownSubnets() {
        return ownSubnets();
      },
      isDevice: (link) => this.#seen.all.has(link),
      isPeer: (address) => backend.makesRoutes && this.book.isPeer(address),
    };
  }
}

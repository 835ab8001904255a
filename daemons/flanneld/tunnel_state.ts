import { sameAddressOrNone } from "../../shared/net/address.ts";
import type {
  FdbEntry,
  ListedFdbEntry,
  Neighbour,
  NeighbourEntry,
} from "../../shared/netlink/neighbour.ts";
import { DeltaTable } from "./delta_table.ts";
import type { PeerState } from "./peer_state.ts";
import type { PlannedChange, Rests } from "./planned_change.ts";

/** One device's neighbours and forwarding entries: the wanted and the present ones. */
export class TunnelState {
  #device = 0;
  readonly #neighbours: DeltaTable<bigint, PeerState, NeighbourEntry>;
  readonly #fdb: DeltaTable<string, PeerState, readonly ListedFdbEntry[]>;

  constructor() {
    this.#neighbours = new DeltaTable({
      isRight: ({ wanted, present }) =>
        wanted === undefined
          ? present?.permanent !== true
          : present?.permanent === true && present.mac === wanted.objects?.vtepMac,
      made: (wanted) => withPermanence(neighbourOf(wanted)),
      isAsMade: () => true,
    });
    this.#fdb = new DeltaTable({
      isRight: ({ wanted, present = [] }) =>
        wanted === undefined
          ? !present.some(({ permanent }) => permanent)
          : present.length === 1 && present.every((entry) => isSameEntry(wanted, entry)),
      made: (wanted) => {
        const entry = withPermanence(entryOf(wanted));
        return entry && [entry];
      },
      isAsMade: () => true,
    });
  }

  /** Index of the device, or 0 while there is none. */
  get device(): number {
    return this.#device;
  }

  /** Grows whenever something is wanted or learned. */
  get revision(): number {
    return this.#fdb.revision + this.#neighbours.revision;
  }

  get hasPending(): boolean {
    return this.#fdb.pending.size > 0 || this.#neighbours.pending.size > 0;
  }

  /** Learns that the device has been replaced or deleted, and its entries with it. */
  learnDevice(index: number): void {
    this.#device = index;
    this.#neighbours.learnAll(new Map());
    this.#fdb.learnAll(new Map());
  }

  /** Whose MAC it is already. */
  ownerOf(mac: string): PeerState | undefined {
    return this.#fdb.wantedAt(mac);
  }

  want(state: PeerState): void {
    const mac = state.objects?.vtepMac;
    if (mac === undefined) return;
    this.#fdb.want(mac, state);
    this.#neighbours.want(state.peer.subnet.address.value, state);
  }

  release(state: PeerState): void {
    const mac = state.objects?.vtepMac;
    if (mac === undefined) return;
    this.#fdb.release(mac, state);
    this.#neighbours.release(state.peer.subnet.address.value, state);
  }

  isProgrammed(state: PeerState): boolean {
    const mac = state.objects?.vtepMac;
    if (mac === undefined) return true;
    return (
      this.#device !== 0 &&
      !this.#fdb.pending.has(mac) &&
      !this.#neighbours.pending.has(state.peer.subnet.address.value)
    );
  }

  learnNeighbours(entries: readonly NeighbourEntry[]): void {
    this.#neighbours.learnAll(new Map(entries.map((entry) => [entry.address.value, entry])));
  }

  learnNeighbour(entry: NeighbourEntry, isGone: boolean): void {
    this.#neighbours.learn(entry.address.value, isGone ? undefined : entry);
  }

  learnFdb(entries: readonly ListedFdbEntry[]): void {
    const byMac = new Map<string, ListedFdbEntry[]>();
    for (const entry of entries) {
      const known = byMac.get(entry.mac);
      if (known === undefined) byMac.set(entry.mac, [entry]);
      else known.push(entry);
    }
    this.#fdb.learnAll(byMac);
  }

  learnFdbEntry(entry: ListedFdbEntry, isGone: boolean): void {
    const { present = [] } = this.#fdb.get(entry.mac) ?? {};
    const remaining = present.filter(({ dst }) => !sameAddressOrNone(dst, entry.dst));
    this.#learnEntries(entry.mac, isGone ? remaining : [...remaining, entry]);
  }

  /** What peers lack: forwarding entries before the neighbours that need them. */
  *missing(rests: Rests): Iterable<PlannedChange> {
    if (this.#device === 0) return;
    yield* this.#missingEntries(rests);
    yield* this.#missingNeighbours(rests);
  }

  /** What no peer wants. */
  *stale(): Iterable<PlannedChange> {
    if (this.#device === 0) return;
    yield* this.#staleNeighbours();
    yield* this.#staleEntries();
  }

  *#missingEntries(rests: Rests): Iterable<PlannedChange> {
    const index = this.#device;
    for (const mac of this.#fdb.pending) {
      const owner = this.#fdb.wantedAt(mac);
      const entry = owner && entryOf(owner);
      if (owner === undefined || entry === undefined || rests(owner)) continue;
      yield {
        change: { kind: "set-fdb", index, entry },
        owner,
        made: () => {
          this.#fdb.learn(mac, [{ ...entry, permanent: true }]);
        },
      };
    }
  }

  *#missingNeighbours(rests: Rests): Iterable<PlannedChange> {
    const index = this.#device;
    for (const key of this.#neighbours.pending) {
      const owner = this.#neighbours.wantedAt(key);
      const neighbour = owner && neighbourOf(owner);
      if (owner === undefined || neighbour === undefined || rests(owner)) continue;
      yield {
        change: { kind: "set-neighbour", index, neighbour },
        owner,
        made: () => {
          this.#neighbours.learn(key, { ...neighbour, permanent: true });
        },
      };
    }
  }

  *#staleNeighbours(): Iterable<PlannedChange> {
    const index = this.#device;
    for (const key of this.#neighbours.pending) {
      const { wanted, present } = this.#neighbours.get(key) ?? {};
      if (wanted !== undefined || present === undefined) continue;
      yield {
        change: { kind: "delete-neighbour", index, address: present.address },
        owner: undefined,
        made: () => {
          this.#neighbours.learn(key, undefined);
        },
      };
    }
  }

  *#staleEntries(): Iterable<PlannedChange> {
    const index = this.#device;
    for (const mac of this.#fdb.pending) {
      const { wanted, present = [] } = this.#fdb.get(mac) ?? {};
      if (wanted !== undefined) continue;
      for (const { dst } of present) {
        yield {
          change: { kind: "delete-fdb", index, mac, dst },
          owner: undefined,
          made: () => {
            const { present: now = [] } = this.#fdb.get(mac) ?? {};
            this.#learnEntries(
              mac,
              now.filter((entry) => !sameAddressOrNone(entry.dst, dst)),
            );
          },
        };
      }
    }
  }

  #learnEntries(mac: string, entries: readonly ListedFdbEntry[]): void {
    this.#fdb.learn(mac, entries.length === 0 ? undefined : entries);
  }
}

/** The neighbour: the subnet's own address has the peer's MAC. */
function neighbourOf({ peer, objects }: PeerState): Neighbour | undefined {
  const mac = objects?.vtepMac;
  return mac === undefined ? undefined : { address: peer.subnet.address, mac };
}

/** The forwarding entry: the peer's MAC is behind its public address. */
function entryOf({ peer, objects }: PeerState): FdbEntry | undefined {
  const mac = objects?.vtepMac;
  return mac === undefined ? undefined : { mac, dst: peer.publicIp };
}

function withPermanence<Entry extends object>(entry: Entry | undefined) {
  return entry && { ...entry, permanent: true };
}

function isSameEntry({ peer, objects }: PeerState, { permanent, dst }: ListedFdbEntry): boolean {
  return permanent && objects?.vtepMac !== undefined && sameAddressOrNone(dst, peer.publicIp);
}

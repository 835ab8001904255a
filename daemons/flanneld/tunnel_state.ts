import { sameAddress } from "../../shared/net/address.ts";
import type { Address } from "../../shared/net/address.ts";
import type { ListedFdbEntry, NeighbourEntry } from "../../shared/netlink/neighbour.ts";
import { DeltaTable } from "./delta_table.ts";
import type { PeerState } from "./peer_state.ts";
import type { PlannedChange, Rests } from "./planned_change.ts";

/** One device's neighbours and forwarding entries: those that peers want beside those that are there. */
export class TunnelState {
  #device = 0;
  readonly #neighbours: DeltaTable<bigint, PeerState, NeighbourEntry>;
  readonly #fdb: DeltaTable<string, PeerState, readonly ListedFdbEntry[]>;

  constructor() {
    this.#neighbours = new DeltaTable(({ wanted, present }) =>
      wanted === undefined
        ? present?.permanent !== true
        : present?.permanent === true && present.mac === wanted.objects?.tunnel?.neighbour.mac,
    );
    this.#fdb = new DeltaTable(({ wanted, present = [] }) =>
      wanted === undefined
        ? !present.some(({ permanent }) => permanent)
        : present.length === 1 && present.every((entry) => isSameEntry(wanted, entry)),
    );
  }

  /** Index of the device, or 0 while there is none. */
  get device(): number {
    return this.#device;
  }

  get hasPending(): boolean {
    return this.#fdb.pending.size > 0 || this.#neighbours.pending.size > 0;
  }

  /** Learns that the device is another one, or gone: nothing of the one before is there. */
  learnDevice(index: number): void {
    this.#device = index;
    this.#neighbours.learnAll(new Map());
    this.#fdb.learnAll(new Map());
  }

  /** Whose MAC it is already. */
  ownerOf(mac: string): PeerState | undefined {
    return this.#fdb.get(mac)?.wanted;
  }

  want(state: PeerState): void {
    const tunnel = state.objects?.tunnel;
    if (tunnel === undefined) return;
    this.#fdb.want(tunnel.entry.mac, state);
    this.#neighbours.want(tunnel.neighbour.address.value, state);
  }

  release(state: PeerState): void {
    const tunnel = state.objects?.tunnel;
    if (tunnel === undefined) return;
    this.#fdb.release(tunnel.entry.mac, state);
    this.#neighbours.release(tunnel.neighbour.address.value, state);
  }

  isProgrammed(state: PeerState): boolean {
    const tunnel = state.objects?.tunnel;
    if (tunnel === undefined) return true;
    return (
      this.#device !== 0 &&
      !this.#fdb.pending.has(tunnel.entry.mac) &&
      !this.#neighbours.pending.has(tunnel.neighbour.address.value)
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
    const others = present.filter(({ dst }) => !sameDst(dst, entry.dst));
    this.#learnEntries(entry.mac, isGone ? others : [...others, entry]);
  }

  /** What peers lack: where a MAC is comes before which MAC an address has. */
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
      const owner = this.#fdb.get(mac)?.wanted;
      const entry = owner?.objects?.tunnel?.entry;
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
      const owner = this.#neighbours.get(key)?.wanted;
      const neighbour = owner?.objects?.tunnel?.neighbour;
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
              now.filter((entry) => !sameDst(entry.dst, dst)),
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

function isSameEntry(wanted: PeerState, { permanent, dst }: ListedFdbEntry): boolean {
  const entry = wanted.objects?.tunnel?.entry;
  return permanent && entry !== undefined && sameDst(dst, entry.dst);
}

function sameDst(a: Address | undefined, b: Address | undefined): boolean {
  return a === undefined || b === undefined ? a === b : sameAddress(a, b);
}

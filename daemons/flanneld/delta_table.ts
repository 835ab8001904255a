/** What is wanted under a key, and what is there as far as is known. */
export interface Delta<Wanted, Present> {
  readonly wanted: Wanted | undefined;
  readonly present: Present | undefined;
}

/** How the present value of a key compares with the wanted one. */
export interface Comparison<Wanted, Present> {
  /** Whether what is there may stay as it is. */
  readonly isRight: (delta: Delta<Wanted, Present>) => boolean;
  /** What is there once what is wanted has been made; undefined where it cannot be made now. */
  readonly made: (wanted: Wanted) => Present | undefined;
  /** Whether what is there and right is exactly that. */
  readonly isAsMade: (wanted: Wanted, present: Present) => boolean;
}

/** A set that had so many entries is replaced once it is empty. */
const manyPending = 256;

/**
 * A kernel table and what it should contain. The keys at which they differ are always known. The
 * kernel's side is what dumps, events and answers to changes have told; it is kept only where it
 * differs from what was made, which saves most of the memory with thousands of peers.
 */
export class DeltaTable<Key, Wanted, Present> {
  readonly #wanted = new Map<Key, Wanted>();
  readonly #present = new Map<Key, Present>();
  #pending = new Set<Key>();
  /** The most entries that the pending set has had since it was empty. */
  #mostPending = 0;
  readonly #comparison: Comparison<Wanted, Present>;
  #revision = 0;

  constructor(comparison: Comparison<Wanted, Present>) {
    this.#comparison = comparison;
  }

  /** The keys at which something is to be done. */
  get pending(): ReadonlySet<Key> {
    return this.#pending;
  }

  /** Grows whenever something is wanted or learned. */
  get revision(): number {
    return this.#revision;
  }

  get(key: Key): Delta<Wanted, Present> | undefined {
    const wanted = this.#wanted.get(key);
    const present = this.#presentAt(key, wanted);
    return wanted === undefined && present === undefined ? undefined : { wanted, present };
  }

  wantedAt(key: Key): Wanted | undefined {
    return this.#wanted.get(key);
  }

  /**
   * Sets the wanted value of a key; undefined for none. The value must not be changed while it is
   * wanted.
   */
  want(key: Key, wanted: Wanted | undefined): void {
    this.#settle(key, wanted, this.#presentAt(key, this.#wanted.get(key)));
  }

  /** Wants a value no longer, unless another one is wanted under the key by now. */
  release(key: Key, wanted: Wanted): void {
    if (this.#wanted.get(key) === wanted) this.want(key, undefined);
  }

  /** Learns the present value of a key; undefined for none. */
  learn(key: Key, present: Present | undefined): void {
    this.#settle(key, this.#wanted.get(key), present);
  }

  /** Learns the whole table from a dump. */
  learnAll(present: ReadonlyMap<Key, Present>): void {
    for (const key of this.#present.keys()) if (!present.has(key)) this.learn(key, undefined);
    for (const key of this.#wanted.keys()) if (!present.has(key)) this.learn(key, undefined);
    for (const [key, value] of present) this.learn(key, value);
  }

  /** Compares all keys again, after a change of what decides whether a value may stay. */
  reviewAfter(change: () => void): void {
    const keys = new Set([...this.#wanted.keys(), ...this.#present.keys()]);
    const before = [...keys].map((key) => [key, this.get(key)] as const);
    change();
    for (const [key, delta] of before) this.#settle(key, delta?.wanted, delta?.present);
  }

  wanted(): Iterable<[Key, Wanted]> {
    return this.#wanted.entries();
  }

  #presentAt(key: Key, wanted: Wanted | undefined): Present | undefined {
    const present = this.#present.get(key);
    if (present !== undefined || wanted === undefined || this.#pending.has(key)) return present;
    return this.#comparison.made(wanted);
  }

  #settle(key: Key, wanted: Wanted | undefined, present: Present | undefined): void {
    this.#revision++;
    const { isRight, isAsMade } = this.#comparison;
    const right = isRight({ wanted, present });
    if (right) this.#done(key);
    else this.#pending.add(key);
    this.#mostPending = Math.max(this.#mostPending, this.#pending.size);
    put(this.#wanted, key, wanted);
    const isKept =
      present !== undefined && !(right && wanted !== undefined && isAsMade(wanted, present));
    put(this.#present, key, isKept ? present : undefined);
  }

  #done(key: Key): void {
    this.#pending.delete(key);
    if (this.#pending.size > 0 || this.#mostPending < manyPending) return;
    // An emptied set keeps the memory that it has had.
    this.#pending = new Set();
    this.#mostPending = 0;
  }
}

function put<Key, Value>(map: Map<Key, Value>, key: Key, value: Value | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}

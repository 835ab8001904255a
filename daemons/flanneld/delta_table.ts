/** What is wanted under a key, and what is there as far as is known. */
export interface Delta<Wanted, Present> {
  wanted: Wanted | undefined;
  present: Present | undefined;
}

/**
 * A kernel table beside what it should hold, with the keys at which they differ always known. The
 * kernel's side is a belief: told by a dump, by events, and by answers to changes.
 */
export class DeltaTable<Key, Wanted, Present> {
  readonly #deltas = new Map<Key, Delta<Wanted, Present>>();
  readonly #pending = new Set<Key>();
  readonly #isRight: (delta: Readonly<Delta<Wanted, Present>>) => boolean;

  /** @param isRight whether what is there may stay as it is. */
  constructor(isRight: (delta: Readonly<Delta<Wanted, Present>>) => boolean) {
    this.#isRight = isRight;
  }

  /** The keys at which something is to be done. */
  get pending(): ReadonlySet<Key> {
    return this.#pending;
  }

  get(key: Key): Readonly<Delta<Wanted, Present>> | undefined {
    return this.#deltas.get(key);
  }

  /** Wants something under a key, or with undefined nothing any more. */
  want(key: Key, wanted: Wanted | undefined): void {
    const delta = this.#deltas.get(key);
    if (delta !== undefined) delta.wanted = wanted;
    else if (wanted === undefined) return;
    this.#settle(key, delta ?? { wanted, present: undefined });
  }

  /** Wants it no longer, unless something else is wanted under the key by now. */
  release(key: Key, wanted: Wanted): void {
    if (this.#deltas.get(key)?.wanted === wanted) this.want(key, undefined);
  }

  /** Learns what is there under a key; undefined for nothing. */
  learn(key: Key, present: Present | undefined): void {
    const delta = this.#deltas.get(key);
    if (delta !== undefined) delta.present = present;
    else if (present === undefined) return;
    this.#settle(key, delta ?? { wanted: undefined, present });
  }

  /** Learns everything that is there, by a dump. */
  learnAll(present: ReadonlyMap<Key, Present>): void {
    for (const key of this.#deltas.keys()) {
      if (!present.has(key)) this.learn(key, undefined);
    }
    for (const [key, value] of present) this.learn(key, value);
  }

  /** Looks again whether what is there under any key may stay. */
  review(): void {
    for (const [key, delta] of this.#deltas) this.#settle(key, delta);
  }

  *wanted(): Iterable<[Key, Wanted]> {
    for (const [key, { wanted }] of this.#deltas) {
      if (wanted !== undefined) yield [key, wanted];
    }
  }

  #settle(key: Key, delta: Delta<Wanted, Present>): void {
    if (delta.wanted === undefined && delta.present === undefined) this.#deltas.delete(key);
    else this.#deltas.set(key, delta);
    if (this.#isRight(delta)) this.#pending.delete(key);
    else this.#pending.add(key);
  }
}

/** Units of work before garbage is collected: they leave about a megabyte. */
const most = 200;

/**
 * Counts work that leaves garbage, and has the garbage collected before there is much of it. A
 * runtime by itself waits for 32 MiB, and what survives is then spread over all of them.
 */
export class Churn {
  readonly #collect: () => void;
  #count = 0;

  /** @param collect collects what was made lately. */
  constructor(collect: () => void) {
    this.#collect = collect;
  }

  /** @param amount of work: 1 for the metadata of a Node read, or a route made. */
  add(amount: number): void {
    this.#count += amount;
    if (this.#count < most) return;
    this.#count = 0;
    this.#collect();
  }
}

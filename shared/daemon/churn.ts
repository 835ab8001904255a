/** Things that are made and soon dropped, before what is left of them is collected: about a megabyte. */
const most = 200;

/**
 * Counts what is made and soon dropped, and has it collected before there is much of it. A runtime left
 * to itself waits for 32 MiB, and what lives on is then spread over all of that.
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

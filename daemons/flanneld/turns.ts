import type { Churn } from "../../shared/daemon/churn.ts";

/** Milliseconds of work after which others get their turn. */
const span = 15;

/** Divides long work into turns, between which the process does something else. */
export class Turns {
  readonly #churn: Churn;
  #began = 0;

  constructor(churn: Churn) {
    this.#churn = churn;
  }

  begin(): void {
    this.#began = performance.now();
  }

  /**
   * Lets others have their turn where this has had its own for long enough.
   * @param amount of work done, in things of a Churn.
   */
  async breathe(amount: number): Promise<void> {
    this.#churn.add(amount);
    if (performance.now() - this.#began < span) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    setImmediate(() => {
      resolve(undefined);
    });
    await promise;
    this.begin();
  }
}

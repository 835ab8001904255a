/** Runs one after another, in the order in which they come. */
export class Turn {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs it when all that came before have ended, successfully or not. */
  async take<T>(run: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#last = promise;
    await before;
    try {
      return await run();
    } finally {
      resolve(undefined);
    }
  }
}

/** Has something looked at: after a while, or sooner. */
export class LookTimer {
  readonly #look: () => void;
  readonly #shortest: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #lastAt = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  /** @param shortest milliseconds between two looks. */
  constructor(look: () => void, shortest: number) {
    this.#look = look;
    this.#shortest = shortest;
  }

  /** Looks as soon as the last look is long enough ago. */
  soon(): void {
    this.within(Math.max(0, this.#lastAt + this.#shortest - performance.now()));
  }

  /** Looks after so many milliseconds at the latest. */
  within(pause: number): void {
    const at = performance.now() + pause;
    if (this.#isClosed || at >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = at;
    this.#timer = setTimeout(() => {
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.#lastAt = performance.now();
      this.#look();
    }, pause);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }
}

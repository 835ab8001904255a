import type { Concern } from "./kernel_events.ts";

/** Each includes those before it. */
const concerns: readonly Concern[] = ["changes", "devices", "all"];

/** When the next round is, and what it has to look at. */
export class RoundTimer {
  readonly #onDue: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #concern: Concern = "all";
  #isClosed = false;

  constructor(onDue: () => void) {
    this.#onDue = onDue;
  }

  /** What the next round has to look at, whenever it is. */
  get concern(): Concern {
    return this.#concern;
  }

  /** A round begins. @returns what it has to look at. */
  takeConcern(): Concern {
    const concern = this.#concern;
    this.#concern = "changes";
    return concern;
  }

  /** Has the next round look at that, and be in so many milliseconds at the latest. */
  wake(delay: number, concern: Concern): void {
    if (concerns.indexOf(concern) > concerns.indexOf(this.#concern)) this.#concern = concern;
    const at = performance.now() + delay;
    if (this.#isClosed || at >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = at;
    this.#timer = setTimeout(() => {
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.#onDue();
    }, delay);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }
}

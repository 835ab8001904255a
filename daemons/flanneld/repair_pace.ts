/**
 * How soon after an event to look at the kernel: normally at once, because packets are lost
 * meanwhile; later where another program undoes each repair.
 */
export class RepairPace {
  #tokens = burst;
  #filledAt: number;

  /** @param now returns milliseconds. */
  constructor(now: number) {
    this.#filledAt = now;
  }

  /** Milliseconds to wait before the next repair. */
  next(now: number): number {
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) / 1000) * perSecond);
    this.#filledAt = now;
    if (this.#tokens < 1) return slow;
    this.#tokens--;
    return quick;
  }
}

/** Repairs in a row before it slows down, and how many more each second allows. */
const burst = 30;
const perSecond = 2;
/** Events come in bursts: the rest of one arrives within some milliseconds. */
const quick = 10;
const slow = 400;

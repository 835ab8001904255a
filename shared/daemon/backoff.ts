/** How long to wait between two attempts, in milliseconds. */
export interface BackoffLimits {
  readonly first: number;
  readonly most: number;
}

/**
 * Waits twice as long after each failed attempt, up to a limit, and never exactly as long as all the
 * other nodes: each wait is drawn between half of it and the whole.
 */
export class Backoff {
  readonly #limits: BackoffLimits;
  readonly #random: () => number;
  #next: number;

  constructor(limits: BackoffLimits, random: () => number = Math.random) {
    this.#limits = limits;
    this.#random = random;
    this.#next = limits.first;
  }

  /** Milliseconds to wait now. */
  next(): number {
    const wait = this.#next;
    this.#next = Math.min(wait * 2, this.#limits.most);
    return wait * (0.5 + this.#random() / 2);
  }

  /** After a success. */
  reset(): void {
    this.#next = this.#limits.first;
  }
}

/** Waits, or rejects with the signal's reason as soon as it is aborted. */
export async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const wake = () => {
    resolve(undefined);
  };
  const timer = setTimeout(wake, milliseconds);
  signal.addEventListener("abort", wake);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", wake);
  }
  signal.throwIfAborted();
}

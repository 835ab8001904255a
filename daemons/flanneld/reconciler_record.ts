import type { Repairs } from "./reconciler_status.ts";

/** What a reconciler has done, for its status. */
export class ReconcilerRecord {
  #repairs: Repairs = { device: 0, route: 0, neighbour: 0, fdb: 0, wireguard: 0 };
  /** When the first change was told that is not in the kernel yet. */
  #changedAt: number | undefined;
  #convergence: number | undefined;
  #losses = 0;
  #lastSync: number | undefined;

  get repairs(): Repairs {
    return this.#repairs;
  }

  /** Milliseconds that the last change took until it was in the kernel. */
  get convergence(): number | undefined {
    return this.#convergence;
  }

  /** How often events of the kernel were lost. */
  get losses(): number {
    return this.#losses;
  }

  /** When all was last as it should be; milliseconds since the epoch. */
  get lastSync(): number | undefined {
    return this.#lastSync;
  }

  countRepairs(kind: keyof Repairs, count: number): void {
    this.#repairs = { ...this.#repairs, [kind]: this.#repairs[kind] + count };
  }

  countLoss(): void {
    this.#losses++;
  }

  /** Something else is wanted from now on. */
  noteChange(): void {
    this.#changedAt ??= performance.now();
  }

  /** @param isAll whether nothing has come meanwhile that is for the next round. */
  noteSync(isAll: boolean): void {
    this.#lastSync = Date.now();
    if (this.#changedAt === undefined || !isAll) return;
    this.#convergence = performance.now() - this.#changedAt;
    this.#changedAt = undefined;
  }
}

import type { Log } from "../../shared/daemon/log.ts";

/** How many refused peers have a line in the log each. */
const mostLines = 100;

/** Logs the peers that are refused, once for each reason. */
export class RefusalLog {
  readonly #log: Pick<Log, "warn">;
  readonly #logged = new Map<string, string>();
  #count = 0;

  constructor(log: Pick<Log, "warn">) {
    this.#log = log;
  }

  /** How many peers are refused. */
  get size(): number {
    return this.#logged.size;
  }

  /** How many peers have been refused, again where the reason has changed. */
  get count(): number {
    return this.#count;
  }

  /** @param refused all peers that are refused now, with the reasons by the leases' ids. */
  update(refused: ReadonlyMap<string, string>): void {
    for (const [id, why] of refused) {
      if (this.#logged.get(id) === why) continue;
      this.#logged.set(id, why);
      this.#count++;
      if (this.#logged.size <= mostLines) this.#log.warn(`The peer ${id} is refused: ${why}.`);
    }
    for (const id of this.#logged.keys()) if (!refused.has(id)) this.#logged.delete(id);
  }
}

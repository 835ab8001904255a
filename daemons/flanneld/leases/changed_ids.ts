/** So many that going through all is as good. */
const most = 500;

/** The ids of what has changed since they were last taken. At first, and when there are many, that is anything. */
export class ChangedIds {
  #ids: Set<string> | undefined;

  add(id: string): void {
    this.#ids?.add(id);
    if (this.#ids !== undefined && this.#ids.size > most) this.#ids = undefined;
  }

  /** @param ids undefined for anything. */
  addAll(ids: ReadonlySet<string> | undefined): void {
    if (ids === undefined) this.#ids = undefined;
    else for (const id of ids) this.add(id);
  }

  /** @returns undefined for anything. */
  take(): ReadonlySet<string> | undefined {
    const taken = this.#ids;
    this.#ids = new Set();
    return taken;
  }
}

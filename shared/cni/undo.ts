import { CniError, Code } from "./error.ts";
import { messageOf } from "../base/failure.ts";

/** The way back out of a half-done ADD. */
export interface Undo {
  /** Remembers how to undo what was just done; `what` names it for the log. */
  push(what: string, action: () => Promise<void> | void): void;
}

/** A stack of undo actions, run latest first. */
export class UndoStack implements Undo {
  readonly #actions: { what: string; action: () => Promise<void> | void }[] = [];

  push(what: string, action: () => Promise<void> | void): void {
    this.#actions.push({ what, action });
  }

  /**
   * Runs every action, latest first, going on after one that fails.
   * @returns what could not be undone, so that it can be said.
   */
  async run(): Promise<CniError[]> {
    const failures: CniError[] = [];
    for (let entry = this.#actions.pop(); entry !== undefined; entry = this.#actions.pop()) {
      try {
        await entry.action();
      } catch (cause) {
        failures.push(
          new CniError(
            Code.Incomplete,
            `Cannot undo: ${entry.what} is left behind: ${messageOf(cause)}`,
            "The next DEL of this container, or a GC, takes it away.",
            { cause },
          ),
        );
      }
    }
    return failures;
  }
}

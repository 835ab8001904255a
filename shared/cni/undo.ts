import { CniError, Code } from "./error.ts";
import { messageOf } from "../base/failure.ts";

/** How to undo an ADD that fails halfway. */
export interface Undo {
  /** Adds how to undo what was just done. @param what names that for the log. */
  push(what: string, action: () => Promise<void> | void): void;
}

/** A stack of undo actions, run latest first. */
export class UndoStack implements Undo {
  readonly #actions: { what: string; action: () => Promise<void> | void }[] = [];

  push(what: string, action: () => Promise<void> | void): void {
    this.#actions.push({ what, action });
  }

  /**
   * Runs every action, latest first. One that fails does not stop the others.
   * @returns what could not be undone.
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
            `Cannot undo the ADD: ${entry.what} is left behind: ${messageOf(cause)}`,
            "The next DEL of this container, or a GC, removes it.",
            { cause },
          ),
        );
      }
    }
    return failures;
  }
}

import { asCniError } from "../../../../shared/cni/error.ts";
import type { Failure } from "../view.ts";

/** Looks at parts of the node, and goes on after one that fails. */
export class Parts {
  readonly #failures: Failure[] = [];

  get failures(): readonly Failure[] {
    return this.#failures;
  }

  /** @returns undefined where it fails. */
  look<T>(subject: string, look: () => T): T | undefined {
    try {
      return look();
    } catch (error) {
      this.#note(subject, error);
      return undefined;
    }
  }

  /** @returns undefined where it fails. */
  async lookAsync<T>(subject: string, look: () => Promise<T>): Promise<T | undefined> {
    try {
      return await look();
    } catch (error) {
      this.#note(subject, error);
      return undefined;
    }
  }

  #note(subject: string, error: unknown): void {
    const { message, details } = asCniError(error);
    this.#failures.push({ subject, message, advice: details });
  }
}

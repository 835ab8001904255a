import { messageOf } from "../../shared/base/failure.ts";
import { CniError, Code } from "../../shared/cni/error.ts";
import {
  ensureFolder,
  isPresent,
  listIfPresent,
  readIfPresent,
  removeIfPresent,
  replaceFileBy,
} from "../../shared/files/files.ts";

/**
 * The files in the store's folder. Names are relative to it. Every method throws CniError
 * IoFailure.
 */
export class StoreFiles {
  readonly #folder: string;
  /** The temporary file: one for all files, because only one call writes at a time. */
  readonly #temporary: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#temporary = `${folder}/.new`;
  }

  /** Makes folders that only root may read. */
  makeFolders(names: readonly string[]): void {
    this.#attempt(() => {
      for (const name of names) ensureFolder(`${this.#folder}/${name}`, 0o700);
    });
  }

  /** The names of the files in a folder. */
  list(name: string): string[] {
    return this.#attempt(() => listIfPresent(`${this.#folder}/${name}`));
  }

  read(name: string): string | undefined {
    return this.#attempt(() => readIfPresent(`${this.#folder}/${name}`));
  }

  readLines(name: string): string[] {
    return this.read(name)?.split("\n").filter(Boolean) ?? [];
  }

  /** Replaces a file in one step. */
  write(name: string, text: string): void {
    this.#attempt(() => {
      replaceFileBy(this.#temporary, `${this.#folder}/${name}`, text, 0o600);
    });
  }

  /** Replaces a file in one step; a file without lines is removed. */
  writeLines(name: string, lines: readonly string[]): void {
    if (lines.length === 0) this.remove(name);
    else this.write(name, `${lines.join("\n")}\n`);
  }

  remove(name: string): void {
    this.#attempt(() => removeIfPresent(`${this.#folder}/${name}`));
  }

  /** Whether a call was killed while it wrote, or one is writing. */
  get isWriting(): boolean {
    return this.#attempt(() => isPresent(this.#temporary));
  }

  /** Removes what a call was writing when it was killed. */
  sweep(): void {
    this.#attempt(() => removeIfPresent(this.#temporary));
  }

  #attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      throw new CniError(
        Code.IoFailure,
        `Cannot keep the record of host ports in ${this.#folder}: ${messageOf(cause)}.`,
        "Make sure that /run is writable for the container runtime and has space left.",
        { cause },
      );
    }
  }
}

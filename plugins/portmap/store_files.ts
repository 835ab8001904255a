import { errnoOf, messageOf } from "../../shared/base/failure.ts";
import { CniError, Code } from "../../shared/cni/error.ts";
import {
  ensureFolder,
  isPresent,
  listIfPresent,
  removeFileOrEmptyFolder,
  removeIfPresent,
  replaceFileBy,
} from "../../shared/files/files.ts";
import { isNoUsableFile, readIfPresent, readProblem } from "../../shared/files/read_file.ts";

/**
 * The files in the store's folder. Names are relative to it. Every method throws CniError
 * IoFailure.
 *
 * Whatever is in the place of a file, a pod must be able to go. So a file that cannot be used is
 * warned about and counts as missing, and whatever can be replaced or removed is.
 */
export class StoreFiles {
  readonly #folder: string;
  readonly warn: (message: string) => void;
  /** The temporary file: one for all files, because only one call writes at a time. */
  readonly #temporary: string;
  readonly #unusable = new Set<string>();
  readonly #warned = new Set<string>();
  #isFolderReplaced = false;

  constructor(folder: string, warn: (message: string) => void) {
    this.#folder = folder;
    this.warn = warn;
    this.#temporary = `${folder}/.new`;
  }

  /** Makes folders that only root may read, also in the place of files. */
  makeFolders(names: readonly string[]): void {
    this.#attempt(() => {
      for (const name of names) this.#makeFolder(`${this.#folder}/${name}`);
    });
  }

  #makeFolder(path: string): void {
    for (const blocked of [path, this.#folder]) {
      try {
        ensureFolder(path, 0o700);
        return;
      } catch (error) {
        if (!isNoFolder(error)) throw error;
      }
      this.#isFolderReplaced = true;
      removeUnlessFolder(blocked);
    }
    ensureFolder(path, 0o700);
    this.warn(`${path} was no folder, and is one now. The node's other records are used.`);
  }

  /** The names of the files in a folder. */
  list(name: string): string[] {
    return this.#attempt(() => {
      try {
        return listIfPresent(`${this.#folder}/${name}`);
      } catch (error) {
        if (isNoFolder(error)) return [];
        throw error;
      }
    });
  }

  /** The text of a file, or undefined if there is none, or none that can be read. */
  read(name: string): string | undefined {
    return this.#attempt(() => {
      try {
        return readIfPresent(`${this.#folder}/${name}`);
      } catch (error) {
        if (!isNoUsableFile(error)) throw error;
        this.distrust(name, readProblem(error));
        return undefined;
      }
    });
  }

  readLines(name: string): string[] {
    return this.read(name)?.split("\n").filter(Boolean) ?? [];
  }

  /** Notes that a file cannot be used. */
  distrust(name: string, problem: string): void {
    this.#unusable.add(name);
    if (this.#warned.has(name)) return;
    this.#warned.add(name);
    this.warn(
      `Cannot read ${this.#folder}/${name}: ${problem}. The node's other records are used.`,
    );
  }

  /** Takes back what {@link distrust} noted, before a file is looked at again. */
  trust(name: string): void {
    this.#unusable.delete(name);
  }

  isUnusable(name: string): boolean {
    return this.#unusable.has(name);
  }

  /** The files that could not be used, and have not been replaced or removed since. */
  unusable(): readonly string[] {
    return [...this.#unusable];
  }

  /** Whether files were lost with a folder, since this was asked last. */
  takeFolderReplaced(): boolean {
    const isReplaced = this.#isFolderReplaced;
    this.#isFolderReplaced = false;
    return isReplaced;
  }

  /** Whether anything was met that is not as it should be. */
  get isDamaged(): boolean {
    return this.#isFolderReplaced || this.#unusable.size > 0;
  }

  /** Replaces a file in one step. */
  write(name: string, text: string): void {
    const path = `${this.#folder}/${name}`;
    this.#attempt(() => {
      try {
        replaceFileBy(this.#temporary, path, text, 0o600);
      } catch (error) {
        if (errnoOf(error) !== "EISDIR") throw error;
        if (!this.#removed(path)) throw fullFolder(path);
        replaceFileBy(this.#temporary, path, text, 0o600);
      }
    });
    this.#unusable.delete(name);
  }

  /** Replaces a file in one step; a file without lines is removed. */
  writeLines(name: string, lines: readonly string[]): void {
    if (lines.length === 0) this.remove(name);
    else this.write(name, `${lines.join("\n")}\n`);
  }

  /** Removes a file. Only warns if there is a folder in its place that is not empty. */
  remove(name: string): void {
    const path = `${this.#folder}/${name}`;
    if (this.#attempt(() => this.#removed(path))) {
      this.#unusable.delete(name);
      return;
    }
    const { message, details } = fullFolder(path);
    this.warn(`${message} ${details}`);
  }

  /** Whether a call was killed while it wrote, or one is writing. */
  get isWriting(): boolean {
    return this.#attempt(() => isPresent(this.#temporary));
  }

  /** Removes what a call was writing when it was killed. */
  sweep(): void {
    this.#attempt(() => removeFileOrEmptyFolder(this.#temporary));
  }

  /** @returns false if it is a folder that is not empty. */
  #removed(path: string): boolean {
    try {
      removeFileOrEmptyFolder(path);
      return true;
    } catch (error) {
      if (errnoOf(error) !== "ENOTEMPTY") throw error;
      return false;
    }
  }

  #attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      if (cause instanceof CniError) throw cause;
      throw new CniError(
        Code.IoFailure,
        `Cannot keep the record of host ports in ${this.#folder}: ${messageOf(cause)}.`,
        "Make sure that /run is writable for the container runtime and has space left.",
        { cause },
      );
    }
  }
}

/** Whether something else is in the place of a folder. */
function isNoFolder(error: unknown): boolean {
  return ["EEXIST", "ENOTDIR", "ELOOP"].includes(errnoOf(error) ?? "");
}

function removeUnlessFolder(path: string): void {
  try {
    removeIfPresent(path);
  } catch (error) {
    if (errnoOf(error) !== "EISDIR" && !isNoFolder(error)) throw error;
  }
}

function fullFolder(path: string): CniError {
  return new CniError(
    Code.IoFailure,
    `Cannot replace ${path}: it must be a regular file (got a folder that is not empty).`,
    `Remove it: rm -r ${path}.`,
  );
}

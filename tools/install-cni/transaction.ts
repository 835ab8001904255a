import { lstatSync, renameSync, unlinkSync } from "node:fs";
import type { Stats } from "node:fs";
import { join } from "node:path";
import { Failure } from "../../shared/base/failure.ts";
import {
  ensureFolder,
  isPresent,
  listIfPresent,
  readIfPresent,
  removeIfPresent,
} from "../../shared/files/files.ts";
import { takeLock } from "../../shared/files/lock.ts";
import type { Lock } from "../../shared/files/lock.ts";
import type { Sys } from "../../shared/runtime/sys.ts";
import {
  attributesOf,
  contentOf,
  digestOf,
  isTemporary,
  syncFolder,
  temporaryIn,
  textContent,
  tryLink,
  writeFile,
} from "./atomic_file.ts";
import type { Attributes, Content } from "./atomic_file.ts";
import { linesOf, manifestName, manifestOf, readManifest, textOf } from "./manifest.ts";
import type { Line, Manifest } from "./manifest.ts";

/** A file that is to be in a folder. */
export interface Wanted {
  readonly name: string;
  readonly content: Content;
  /** The content's. */
  readonly digest: string;
  /** Where there is no such file yet. One with a bit for execution is never left without. */
  readonly mode: number;
}

/** A line of the report. */
export interface Outcome {
  readonly what: "installed" | "replaced" | "unchanged" | "removed" | "left" | "gone";
  readonly path: string;
  /** More about it, or "". */
  readonly note: string;
}

/** Where to say what went wrong without being an error. */
type Warn = (line: string) => void;

/** A file as it was found. */
interface Seen {
  readonly file: Wanted;
  readonly path: string;
  /** Whether it is as it is wanted. */
  readonly right: boolean;
  /** What the one that takes its place has of it. */
  readonly kept: Attributes | undefined;
}

interface Staged {
  readonly temporary: string;
  readonly path: string;
  readonly outcome: Outcome;
}

const patience = 60_000;

/**
 * A folder of the node that files are installed in. They are made ready beside their places first
 * ({@link stage}), then take them, each in one step ({@link commit}). The manifest knows of a file
 * before it is there, so a run that was killed at any moment can be undone or done again.
 */
export class Folder {
  readonly #sys: Sys;
  readonly #warn: Warn;
  readonly #path: string;
  /** Undefined where the file system has none: then nobody knows whose temporary files there are. */
  readonly #lock: Lock | undefined;
  readonly #recorded: Manifest;
  #wanted: readonly Wanted[] = [];
  readonly #staged: Staged[] = [];
  /** What was staged, also after it took its place. */
  #changed: readonly Wanted[] = [];

  /**
   * Locks a folder, which is made if there is none.
   * @throws CniError TryAgainLater when another run does not come to its end.
   */
  constructor(sys: Sys, path: string, warn: Warn) {
    this.#sys = sys;
    this.#path = path;
    this.#warn = warn;
    ensureFolder(path, 0o755);
    this.#lock = this.#takeLock();
    this.#recorded = readManifest(path);
  }

  /** Leaves the folder to others, without what is staged and not committed. */
  [Symbol.dispose](): void {
    for (const { temporary } of this.#staged) removeIfPresent(temporary);
    this.#lock?.release();
  }

  /** Removes what a run that was killed has left half-made. */
  sweep(): Outcome[] {
    if (this.#lock === undefined) return [];
    return listIfPresent(this.#path)
      .filter((name) => isTemporary(name))
      .map((name) => {
        const path = join(this.#path, name);
        unlinkSync(path);
        return { what: "removed", path, note: "half-made, by a run that was killed" };
      });
  }

  /**
   * Makes ready all files that are not as they are wanted. Nothing of what is in use changes.
   * @param copies whether each is to be a file of its own, also where the content is the same.
   * @returns those that are as they are wanted.
   */
  stage(wanted: readonly Wanted[], copies: boolean): Outcome[] {
    this.#wanted = wanted;
    const digests = new Map<string, string>();
    const seen = wanted.map((file) => this.#look(file, digests));
    // A new file is like those that are there.
    const model = seen.find(({ kept }) => kept !== undefined)?.kept;
    // What holds the same content with the same attributes is one file, by its path.
    const files = new Map<string, string>();
    for (const { file, path, right, kept } of seen) {
      if (right && kept) files.set(keyOf(file, kept), path);
    }
    const wrong = seen.filter(({ right }) => !right);
    this.#changed = wrong.map(({ file }) => file);
    for (const { file, path, kept } of wrong) {
      const attributes = kept ?? model ?? { mode: file.mode, label: undefined };
      const key = keyOf(file, attributes);
      const temporary = temporaryIn(this.#path);
      const same = copies ? undefined : files.get(key);
      const linked = same !== undefined && tryLink(same, temporary);
      if (!linked) {
        writeFile(this.#sys, temporary, file.content, attributes, this.#warn);
        files.set(key, temporary);
      }
      const what = isPresent(path) ? "replaced" : "installed";
      const note = linked ? "a link" : same === undefined ? "" : "a copy: links are impossible";
      this.#staged.push({ temporary, path, outcome: { what, path, note } });
    }
    return seen
      .filter(({ right }) => right)
      .map(({ path }) => ({ what: "unchanged", path, note: "" }));
  }

  /** Writes down that what is staged is ours, in addition to what was before. */
  announce(): void {
    if (this.#staged.length > 0) this.#record(linesOf(this.#recorded));
  }

  /** Puts what is staged in its places, in the order in which it was wanted. */
  commit(): Outcome[] {
    const outcomes: Outcome[] = [];
    for (let next = this.#staged.shift(); next !== undefined; next = this.#staged.shift()) {
      renameSync(next.temporary, next.path);
      outcomes.push(next.outcome);
    }
    if (outcomes.length > 0) syncFolder(this.#path);
    return outcomes;
  }

  /** Writes down what is there now. */
  finish(): void {
    // Of a file that was replaced, the digest of before is of no use any more.
    const current = new Map(this.#wanted.map(({ name, digest }) => [name, digest]));
    const old = linesOf(this.#recorded).filter(
      ({ name, digest }) => (current.get(name) ?? digest) === digest,
    );
    this.#record(old);
  }

  /** Takes away what was installed, unless somebody has changed it since. */
  uninstall(): Outcome[] {
    const known = new Map<string, string>();
    const outcomes = [...this.#recorded].map(([name, digests]): Outcome => {
      const path = join(this.#path, name);
      const found = lstatSync(path, { throwIfNoEntry: false });
      if (found === undefined) return { what: "gone", path, note: "already" };
      if (!found.isFile() || !digests.includes(digestOnce(path, found, known))) {
        return { what: "left", path, note: "changed since by somebody else" };
      }
      unlinkSync(path);
      return { what: "removed", path, note: "" };
    });
    removeIfPresent(join(this.#path, manifestName));
    syncFolder(this.#path);
    return outcomes;
  }

  #takeLock(): Lock | undefined {
    try {
      return takeLock(this.#sys, this.#path, patience, "r");
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (error.kind === "busy") {
        const advice = "Another install-cni is at work there. See what it waits for.";
        throw new Failure(error.kind, error.message, advice, { cause: error });
      }
      this.#warn(`${error.message} Let no other install-cni run at the same time.`);
      return undefined;
    }
  }

  /** How a file is now. @throws Failure conflict where there is a folder in its place. */
  #look(file: Wanted, digests: Map<string, string>): Seen {
    const path = join(this.#path, file.name);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory() === true) {
      throw new Failure(
        "conflict",
        `Cannot install ${path}: it is a folder.`,
        "Remove it, or choose another folder to install in.",
      );
    }
    const attributes = attributesOf(this.#sys, path);
    if (found === undefined || attributes === undefined) {
      return { file, path, right: false, kept: undefined };
    }
    const digest = digestOnce(path, found, digests);
    const runs = (file.mode & 0o111) === 0 || (attributes.mode & 0o111) !== 0;
    return {
      file,
      path,
      right: digest === file.digest && runs,
      kept: runs ? attributes : { ...attributes, mode: file.mode },
    };
  }

  #record(lines: readonly Line[]): void {
    const text = textOf(manifestOf([...lines, ...this.#changed]));
    const path = join(this.#path, manifestName);
    if (text === (readIfPresent(path) ?? "")) return;
    const temporary = temporaryIn(this.#path);
    writeFile(
      this.#sys,
      temporary,
      textContent(text),
      { mode: 0o644, label: undefined },
      this.#warn,
    );
    renameSync(temporary, path);
    syncFolder(this.#path);
  }
}

function keyOf({ digest }: Wanted, { mode, label }: Attributes): string {
  return `${digest} ${mode} ${label?.toString("hex") ?? ""}`;
}

/** The digest of a file, read once however many names it has. @param known digests by inode. */
function digestOnce(path: string, { dev, ino }: Stats, known: Map<string, string>): string {
  const inode = `${dev}:${ino}`;
  const digest = known.get(inode) ?? digestOf(contentOf(path));
  known.set(inode, digest);
  return digest;
}

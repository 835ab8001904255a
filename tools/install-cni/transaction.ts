import { lstatSync, renameSync, unlinkSync } from "node:fs";
import type { Stats } from "node:fs";
import { join } from "node:path";
import { Failure } from "../../shared/base/failure.ts";
import {
  ensureFolder,
  isPresent,
  listIfPresent,
  removeIfPresent,
} from "../../shared/files/files.ts";
import { readIfPresent } from "../../shared/files/read_file.ts";
import { contentOf } from "../../shared/files/content.ts";
import type { Content } from "../../shared/files/files.ts";
import { takeTransientLock } from "../../shared/files/lock.ts";
import type { Lock } from "../../shared/files/lock.ts";
import type { Sys } from "../../shared/runtime/sys.ts";
import {
  attributesOf,
  digestOf,
  isTemporary,
  syncFolder,
  temporaryIn,
  tryLink,
  writeDurably,
} from "./atomic_file.ts";
import type { Attributes } from "./atomic_file.ts";
import { linesOf, manifestName, manifestOf, readManifest, textOf } from "./manifest.ts";
import type { Line, Manifest } from "./manifest.ts";

/** A file to install in a folder. */
export interface WantedFile {
  readonly name: string;
  readonly content: Content;
  /** Of the content, in SHA-256. */
  readonly digest: string;
  /** Of a new file. One that can be executed replaces one that cannot. */
  readonly mode: number;
  /** Whether it must be no link to another file, so that what overwrites it changes no other. */
  readonly isSeparate: boolean;
}

/** What became of a file. */
export interface Outcome {
  readonly what: "installed" | "replaced" | "unchanged" | "removed" | "left" | "gone";
  readonly path: string;
  /** More about it, or "". */
  readonly note: string;
}

type Warn = (line: string) => void;

/** What is in a wanted file's place. */
interface Inspected {
  readonly file: WantedFile;
  readonly path: string;
  /** Whether it is the wanted file already. */
  readonly isCurrent: boolean;
  /** What the file that replaces it keeps; undefined where there is none. */
  readonly attributes: Attributes | undefined;
}

interface StagedFile {
  readonly temporary: string;
  readonly path: string;
  readonly outcome: Outcome;
}

/** Milliseconds to wait for another run. */
const lockTimeout = 60_000;

/**
 * The lock of a folder is a file in the folder itself. Two installers may run on the node, or in init
 * containers of two pods, where the node's folders are mounted: /run is each container's own then, and
 * the folder is all that the two share. Only root can open the file, and it goes with the lock.
 */
const lockName = ".flannel-cni.lock";

/**
 * The change of one folder of the node. {@link stage} writes all files under temporary names,
 * {@link recordIntent} names them in the manifest, {@link commit} renames each into place, and
 * {@link recordResult} forgets what they have replaced. The manifest names a file before it is there,
 * so a run that was killed at any moment can be undone, or done again.
 */
export class Transaction {
  readonly #sys: Sys;
  readonly #warn: Warn;
  readonly #path: string;
  /** Undefined where the file system has no locks: temporary files may be another run's then. */
  readonly #lock: Lock | undefined;
  readonly #recorded: Manifest;
  #wanted: readonly WantedFile[] = [];
  readonly #staged: StagedFile[] = [];
  /** The files that are new, staged or renamed already. */
  #changed: readonly WantedFile[] = [];
  #retired: readonly string[] = [];

  /**
   * Locks a folder, and makes it if there is none.
   * @throws Failure busy when another run does not end in time; conflict if its lock is another user's.
   */
  constructor(sys: Sys, path: string, warn: Warn) {
    this.#sys = sys;
    this.#path = path;
    this.#warn = warn;
    ensureFolder(path, 0o755);
    this.#lock = this.#takeLock();
    this.#recorded = readManifest(path);
  }

  /** Removes what is staged and not committed, and releases the lock. */
  [Symbol.dispose](): void {
    for (const { temporary } of this.#staged) removeIfPresent(temporary);
    this.#lock?.release();
  }

  /** Removes the temporary files of runs that were killed. */
  sweep(): Outcome[] {
    if (this.#lock === undefined) return [];
    return listIfPresent(this.#path)
      .filter((name) => isTemporary(name))
      .flatMap((name): Outcome[] => {
        const path = join(this.#path, name);
        // A run makes no folders.
        if (lstatSync(path, { throwIfNoEntry: false })?.isFile() !== true) return [];
        unlinkSync(path);
        return [{ what: "removed", path, note: "half-made by a run that was killed" }];
      });
  }

  /**
   * Writes the files that are missing or different, under temporary names.
   * @returns the files that are current.
   */
  stage(wanted: readonly WantedFile[]): Outcome[] {
    this.#wanted = wanted;
    const digests = new Map<string, string>();
    const found = wanted.map((file) => inspect(this.#sys, this.#path, file, digests));
    // A new file gets the attributes of those that are there.
    const model = found.find(({ attributes }) => attributes !== undefined)?.attributes;
    // Files with the same content and attributes are links to one, by its path.
    const inodes = new Map<string, string>();
    for (const { file, path, isCurrent, attributes } of found) {
      if (isCurrent && attributes) inodes.set(keyOf(file, attributes), path);
    }
    const outdated = found.filter(({ isCurrent }) => !isCurrent);
    this.#changed = outdated.map(({ file }) => file);
    for (const { file, path, attributes: own } of outdated) {
      const attributes = own ?? model ?? { mode: file.mode, label: undefined };
      const key = keyOf(file, attributes);
      const temporary = temporaryIn(this.#path);
      const existing = file.isSeparate ? undefined : inodes.get(key);
      const linked = existing !== undefined && tryLink(existing, temporary);
      if (!linked) {
        writeDurably(this.#sys, temporary, file.content, attributes, this.#warn);
        inodes.set(key, temporary);
      }
      const what = isPresent(path) ? "replaced" : "installed";
      const note = linked ? "a link" : existing === undefined ? "" : "a copy: links are impossible";
      this.#staged.push({ temporary, path, outcome: { what, path, note } });
    }
    return found.filter(({ isCurrent }) => isCurrent).map(unchanged);
  }

  /** Adds what is staged to the manifest, beside what it replaces. */
  recordIntent(): void {
    if (this.#staged.length > 0) this.#record(linesOf(this.#recorded));
  }

  /** Renames what is staged into place, in the order in which it was wanted. */
  commit(): Outcome[] {
    const outcomes: Outcome[] = [];
    for (let next = this.#staged.shift(); next !== undefined; next = this.#staged.shift()) {
      renameSync(next.temporary, next.path);
      outcomes.push(next.outcome);
    }
    if (outcomes.length > 0) syncFolder(this.#path);
    return outcomes;
  }

  /** Removes from the manifest what was replaced or retired. */
  recordResult(): void {
    const lines = linesAfter(this.#recorded, this.#wanted);
    this.#record(lines.filter(({ name }) => !this.#retired.includes(name)));
  }

  /** Removes files of earlier installations, unless somebody has changed them since. */
  retire(names: readonly string[]): Outcome[] {
    this.#retired = names;
    return this.#remove(names);
  }

  /** Removes what was installed, unless somebody has changed it since. */
  uninstall(): Outcome[] {
    const outcomes = this.#remove([...this.#recorded.keys()]);
    removeIfPresent(join(this.#path, manifestName));
    syncFolder(this.#path);
    return outcomes;
  }

  /** Removes those files of the manifest that are as they were installed. */
  #remove(names: readonly string[]): Outcome[] {
    const known = new Map<string, string>();
    return names.flatMap((name): Outcome[] => {
      const digests = this.#recorded.get(name);
      if (digests === undefined) return [];
      const path = join(this.#path, name);
      const found = lstatSync(path, { throwIfNoEntry: false });
      if (found === undefined) return [{ what: "gone", path, note: "already" }];
      if (!found.isFile() || !digests.includes(digestOnce(path, found, known))) {
        return [{ what: "left", path, note: "something else has changed it" }];
      }
      unlinkSync(path);
      return [{ what: "removed", path, note: "" }];
    });
  }

  #takeLock(): Lock | undefined {
    try {
      return takeTransientLock(this.#sys, join(this.#path, lockName), lockTimeout);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (error.kind === "conflict") throw error;
      if (error.kind === "busy") {
        const advice = "Another install-cni works in that folder. Wait until it ends, or stop it.";
        throw new Failure(error.kind, error.message, advice, { cause: error });
      }
      this.#warn(`${error.message} Let no other install-cni run at the same time.`);
      return undefined;
    }
  }

  #record(lines: readonly Line[]): void {
    const text = textOf(manifestOf([...lines, ...this.#changed]));
    const path = join(this.#path, manifestName);
    if (text === (readIfPresent(path) ?? "")) return;
    const temporary = temporaryIn(this.#path);
    const attributes = { mode: 0o644, label: undefined };
    writeDurably(this.#sys, temporary, text, attributes, this.#warn);
    renameSync(temporary, path);
    syncFolder(this.#path);
  }
}

/**
 * Sees whether nothing is to be done in a folder: all files are as they are wanted, and no run is at
 * work there or was killed. It changes nothing and needs no lock.
 * @param obsolete names that no installation has any more.
 * @returns the files, or undefined if there is something to do.
 */
export function installedFiles(
  sys: Sys,
  folder: string,
  wanted: readonly WantedFile[],
  obsolete: readonly string[] = [],
): Outcome[] | undefined {
  if (listIfPresent(folder).some((name) => name === lockName || isTemporary(name)))
    return undefined;
  const digests = new Map<string, string>();
  const found = wanted.map((file) => inspect(sys, folder, file, digests));
  const recorded = readManifest(folder);
  const isRecorded = textOf(manifestOf(linesAfter(recorded, wanted))) === textOf(recorded);
  const names = new Set(recorded.keys());
  if (obsolete.some((name) => names.has(name))) return undefined;
  const isDone = found.every(({ isCurrent }) => isCurrent) && isRecorded;
  return isDone && wanted.every(({ name }) => names.has(name)) ? found.map(unchanged) : undefined;
}

/** The lines of a manifest without what wanted files have replaced. */
function linesAfter(recorded: Manifest, wanted: readonly WantedFile[]): Line[] {
  const current = new Map(wanted.map(({ name, digest }) => [name, digest]));
  return linesOf(recorded).filter(({ name, digest }) => (current.get(name) ?? digest) === digest);
}

function unchanged({ path }: Inspected): Outcome {
  return { what: "unchanged", path, note: "" };
}

/** @throws Failure conflict where there is a folder in the file's place. */
function inspect(
  sys: Sys,
  folder: string,
  file: WantedFile,
  digests: Map<string, string>,
): Inspected {
  const path = join(folder, file.name);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) {
    throw new Failure(
      "conflict",
      `Cannot install ${path}: it is a folder.`,
      "Remove it, or choose another folder to install in.",
    );
  }
  const attributes = attributesOf(sys, path);
  if (found === undefined || attributes === undefined) {
    return { file, path, isCurrent: false, attributes: undefined };
  }
  const digest = digestOnce(path, found, digests);
  const isModeRight = (file.mode & 0o111) === 0 || (attributes.mode & 0o111) !== 0;
  return {
    file,
    path,
    isCurrent: digest === file.digest && isModeRight && !(file.isSeparate && found.nlink > 1),
    attributes: isModeRight ? attributes : { ...attributes, mode: file.mode },
  };
}

function keyOf({ digest }: WantedFile, { mode, label }: Attributes): string {
  return `${digest} ${mode} ${label?.toString("hex") ?? ""}`;
}

/** The digest of a file, read once however many names it has. @param known digests by inode. */
function digestOnce(path: string, { dev, ino }: Stats, known: Map<string, string>): string {
  const inode = `${dev}:${ino}`;
  const digest = known.get(inode) ?? digestOf(contentOf(path));
  known.set(inode, digest);
  return digest;
}

import { createHash, randomBytes } from "node:crypto";
import { chmodSync, closeSync, fsyncSync, linkSync, lstatSync, openSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { errnoOf } from "../../shared/base/failure.ts";
import { contentOf } from "../../shared/files/content.ts";
import { replaceFileBy, writeNew } from "../../shared/files/files.ts";
import type { Content } from "../../shared/files/files.ts";
import type { Sys } from "../../shared/runtime/sys.ts";

/** SHA-256, in hexadecimal. */
export function digestOf(content: Content): string {
  const hash = createHash("sha256");
  if (typeof content === "string") hash.update(content);
  else content((part) => hash.update(part));
  return hash.digest("hex");
}

/** What a file has besides its content. */
export interface Attributes {
  /** Permission bits. */
  readonly mode: number;
  /** Its SELinux label; undefined where the folder decides. */
  readonly label: Buffer | undefined;
}

/** Is told of a label that cannot be set. */
type Warn = (line: string) => void;

const labelName = "security.selinux";

/** The attributes of the regular file at `path` itself, or undefined if there is none. */
export function attributesOf(sys: Sys, path: string): Attributes | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isFile() !== true) return undefined;
  const label = Buffer.alloc(1024);
  const length = sys.lgetxattr(path, labelName, label);
  return { mode: found.mode & 0o777, label: length > 0 ? label.subarray(0, length) : undefined };
}

/** Writes a new file down to the disk, for a rename later: whole, or not at all. */
export function writeDurably(
  sys: Sys,
  path: string,
  content: Content,
  attributes: Attributes,
  warn: Warn,
): void {
  writeNew(path, content, 0o600, finish(sys, attributes, warn));
}

/** Gives a file its attributes, and brings it down to the disk. */
function finish(sys: Sys, { mode, label }: Attributes, warn: Warn) {
  return (path: string, fd: number): void => {
    chmodSync(path, mode);
    const answer = label === undefined ? 0 : sys.lsetxattr(path, labelName, label);
    if (answer < 0) {
      warn(
        `Cannot give ${path} the SELinux label of the file before it (errno ${-answer}). Run restorecon on its folder.`,
      );
    }
    fsyncSync(fd);
  };
}

/** Links a file to a second name. @returns whether the file system has links. */
export function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (["EXDEV", "EPERM", "EMLINK", "EOPNOTSUPP", "ENOSYS"].includes(errnoOf(error) ?? "")) {
      return false;
    }
    throw error;
  }
}

/** Brings a folder's names down to the disk. */
export function syncFolder(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Copies a file in one step, into a folder or to a name. Mode and label of a file that is there
 * already are kept.
 */
export function copyFile(sys: Sys, from: string, to: string, warn: Warn): void {
  const isFolder = statSync(to, { throwIfNoEntry: false })?.isDirectory() === true;
  const path = isFolder ? join(to, basename(from)) : to;
  const source = { mode: statSync(from).mode & 0o777, label: undefined };
  const attributes = attributesOf(sys, path) ?? source;
  const temporary = temporaryIn(dirname(path));
  replaceFileBy(temporary, path, contentOf(from), 0o600, finish(sys, attributes, warn));
  syncFolder(dirname(path));
}

/** A name for a file that has not got its own yet. */
export function temporaryIn(folder: string): string {
  return join(folder, `.flannel-cni-${randomBytes(4).toString("hex")}.tmp`);
}

/** Whether a file of this name is one that a run was making. */
export function isTemporary(name: string): boolean {
  return /^\.flannel-cni-[0-9a-f]{8}\.tmp$/.test(name);
}

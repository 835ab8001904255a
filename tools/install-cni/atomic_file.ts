import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { errnoOf } from "../../shared/base/failure.ts";
import type { Sys } from "../../shared/runtime/sys.ts";

/** What a file is to hold: a file's content, or a text. */
export interface Content {
  /** Calls `take` with one part after another, each good until the next. */
  readonly read: (take: (part: Uint8Array) => void) => void;
}

/**
 * Bytes of one read and write. The page cache keeps a file in pieces as long as the writes were
 * (ext4, XFS), and a process that runs it maps whole pieces: longer ones cost it memory, shorter ones
 * time. See docs/decisions/0010-page-cache.md.
 */
const partSize = 64 * 1024;

/** The content of a file. */
export function contentOf(path: string): Content {
  return {
    read(take) {
      const fd = openSync(path, "r");
      try {
        const part = Buffer.allocUnsafe(partSize);
        for (let length = 1; length > 0; ) {
          length = readSync(fd, part, 0, partSize, null);
          take(part.subarray(0, length));
        }
      } finally {
        closeSync(fd);
      }
    },
  };
}

/** A text as content. */
export function textContent(text: string): Content {
  return {
    read(take) {
      take(Buffer.from(text));
    },
  };
}

/** SHA-256, in hexadecimal. */
export function digestOf(content: Content): string {
  const hash = createHash("sha256");
  content.read((part) => hash.update(part));
  return hash.digest("hex");
}

/** What a file has besides its content. */
export interface Attributes {
  /** Permission bits. */
  readonly mode: number;
  /** Its SELinux label; undefined where the folder decides. */
  readonly label: Buffer | undefined;
}

const labelName = "security.selinux";

/** The attributes of the regular file at `path` itself, or undefined if there is none. */
export function attributesOf(sys: Sys, path: string): Attributes | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isFile() !== true) return undefined;
  const label = Buffer.alloc(1024);
  const length = sys.lgetxattr(path, labelName, label);
  return { mode: found.mode & 0o777, label: length > 0 ? label.subarray(0, length) : undefined };
}

/**
 * Writes a new file down to the disk: whole, or not at all.
 * @param warn is told of a label that cannot be set.
 */
export function writeFile(
  sys: Sys,
  path: string,
  content: Content,
  { mode, label }: Attributes,
  warn: (line: string) => void,
): void {
  const fd = openSync(path, "wx", 0o600);
  try {
    content.read((part) => {
      for (let at = 0; at < part.length; ) at += writeSync(fd, part, at);
    });
    chmodSync(path, mode);
    const answer = label === undefined ? 0 : sys.lsetxattr(path, labelName, label);
    if (answer < 0) {
      warn(`${path} cannot be given the label of the file before it (errno ${-answer}).`);
    }
    fsyncSync(fd);
  } catch (error) {
    unlinkSync(path);
    throw error;
  } finally {
    closeSync(fd);
  }
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
export function copyFile(sys: Sys, from: string, to: string, warn: (line: string) => void): void {
  const isFolder = statSync(to, { throwIfNoEntry: false })?.isDirectory() === true;
  const path = isFolder ? join(to, basename(from)) : to;
  const source = { mode: statSync(from).mode & 0o777, label: undefined };
  const temporary = temporaryIn(dirname(path));
  writeFile(sys, temporary, contentOf(from), attributesOf(sys, path) ?? source, warn);
  renameSync(temporary, path);
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

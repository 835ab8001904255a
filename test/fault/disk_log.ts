/**
 * What a disk may have after a power cut: each of a call's operations on files, kept or lost. Nothing
 * is synced, so any operation may be lost, and what was written may be there in part or as zeros.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import type { SystemCall } from "../lab/strace.ts";

/** One operation, with names of files in one folder. */
export type Operation =
  | { readonly kind: "create"; readonly file: string }
  | { readonly kind: "write"; readonly file: string; readonly text: string }
  | {
      readonly kind: "attribute";
      readonly file: string;
      readonly key: string;
      readonly value: string;
    }
  | { readonly kind: "link" | "rename"; readonly file: string; readonly to: string }
  | { readonly kind: "unlink"; readonly file: string };

/** The operations on the files of one folder, in order. Process numbers are replaced by unused ones. */
export function operationsIn(folder: string, calls: readonly SystemCall[]): Operation[] {
  return calls.flatMap(({ name, text }): Operation[] => {
    const paths = [...text.matchAll(/[<"](\/[^<>"]*)[>"]/g)].map(([, path]) => path ?? "");
    const inFolder = paths.filter((path) => path.startsWith(`${folder}/`));
    const [first = "", second = ""] = inFolder.map((path) =>
      basename(path).replace(/\.\d+\.tmp$/, ".99999999.tmp"),
    );
    if (first === "" || text.includes(" = -1 ")) return [];
    const strings = [...text.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, quoted]) =>
      unescape(quoted ?? ""),
    );
    switch (name) {
      case "openat":
        return text.includes("O_CREAT") ? [{ kind: "create", file: first }] : [];
      case "write":
      case "pwrite64":
        return [{ kind: "write", file: first, text: strings[0] ?? "" }];
      case "lsetxattr":
        return [{ kind: "attribute", file: first, key: strings[1] ?? "", value: strings[2] ?? "" }];
      case "link":
      case "linkat":
        return [{ kind: "link", file: first, to: second }];
      case "rename":
      case "renameat2":
        return [{ kind: "rename", file: first, to: second }];
      case "unlink":
      case "unlinkat":
        return [{ kind: "unlink", file: first }];
      default:
        return [];
    }
  });
}

function unescape(text: string): string {
  return JSON.parse(`"${text.replaceAll("\\0", "\\u0000")}"`) as string;
}

/**
 * How much of a file's content is there. What fits in a sector of the disk, as every reservation does,
 * is never there by half.
 */
export type Data = "whole" | "half" | "zeros" | "nothing";

interface Inode {
  text: string;
  readonly attributes: Map<string, string>;
}

/** The files of a folder if these operations have reached the disk. */
export function filesAfter(
  before: ReadonlyMap<string, string>,
  operations: readonly Operation[],
  isKept: (at: number) => boolean,
  dataOf: (at: number) => Data,
): Map<string, Inode> {
  const names = new Map<string, Inode>();
  // A file may lose one name and have another, so its inode is remembered by its first name.
  const known = new Map<string, Inode>();
  const inodeOf = (file: string): Inode => {
    const found = known.get(file) ?? { text: "", attributes: new Map<string, string>() };
    known.set(file, found);
    return found;
  };
  for (const [file, text] of before) {
    const inode = inodeOf(file);
    inode.text = text;
    names.set(file, inode);
  }
  for (const [at, operation] of operations.entries()) {
    const inode = inodeOf(operation.file);
    if (operation.kind === "write") {
      inode.text = kept(operation.text, dataOf(at));
      continue;
    }
    if (operation.kind === "link" || operation.kind === "rename") known.set(operation.to, inode);
    if (!isKept(at)) continue;
    if (operation.kind === "create") names.set(operation.file, names.get(operation.file) ?? inode);
    if (operation.kind === "attribute") inode.attributes.set(operation.key, operation.value);
    if (operation.kind === "link" || operation.kind === "rename") names.set(operation.to, inode);
    if (operation.kind === "unlink" || operation.kind === "rename") names.delete(operation.file);
  }
  return names;
}

/** Bytes that a disk writes at once. */
const sector = 512;

function kept(text: string, data: Data): string {
  if (data === "whole") return text;
  if (data === "half" && text.length <= sector) return "";
  if (data === "half") return text.slice(0, text.length / 2);
  return data === "zeros" ? "\0".repeat(text.length) : "";
}

/** Puts files into a folder. */
export function putFiles(
  folder: string,
  files: ReadonlyMap<string, Inode>,
  setAttribute: (path: string, key: string, value: string) => void,
): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, { text, attributes }] of files) {
    writeFileSync(`${folder}/${name}`, text);
    for (const [key, value] of attributes) setAttribute(`${folder}/${name}`, key, value);
  }
}

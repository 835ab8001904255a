import { printable } from "../../shared/base/text.ts";

/** A word as a shell takes it: also one with characters that cannot be printed (bash's $'…'). */
export function quoted(word: string): string {
  if (/^[\w./:=@%,+-]+$/.test(word)) return word;
  if (printable(word) === word) return `'${word.replaceAll("'", `'\\''`)}'`;
  return `$'${printable(word.replaceAll(/['\\]/g, (found) => `\\${found}`))}'`;
}

/**
 * The words that call cnitool.
 * @param argv0 what its executable was called as: by a link of that name, or by another name.
 */
export function ownCommand(argv0: string): string {
  const isLink = argv0.slice(argv0.lastIndexOf("/") + 1) === "cnitool";
  return isLink ? quoted(argv0) : `${quoted(argv0)} cnitool`;
}

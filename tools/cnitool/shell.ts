import { printable } from "../../shared/base/text.ts";

/** A word as a shell takes it: also one with characters that cannot be printed (bash's $'…'). */
export function quoted(word: string): string {
  if (/^[\w./:=@%,+-]+$/.test(word)) return word;
  if (printable(word) === word) return `'${word.replaceAll("'", `'\\''`)}'`;
  return `$'${printable(word.replaceAll(/['\\]/g, (found) => `\\${found}`))}'`;
}

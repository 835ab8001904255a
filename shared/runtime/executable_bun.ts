/**
 * The pages of the running executable: 110 MiB, of which a third is touched, most of that by the start
 * alone. All that the kernel reads of it counts against the memory limit of whoever touches it first.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { libc } from "./libc_bun.ts";
import { ownExecutable } from "./sys.ts";

/** By its number: each name costs every start, and only a daemon gives advice. */
const SYS_madvise = process.arch === "x64" ? 28 : 233;
const MADV_RANDOM = 1;
const MADV_DONTNEED = 4;
const MADV_DONTDUMP = 16;
const MADV_DODUMP = 17;

/** Bytes that the kernel maps at once of what is in memory. */
const piece = 64 << 10;

interface Mapping {
  readonly address: number;
  readonly length: number;
}

let code: readonly Mapping[] = [];

/**
 * Lets the kernel read only what is touched. Otherwise each fault reads as much as the disk is read
 * ahead, which may be 8 MiB, and a small memory limit has room for little else.
 */
export function limitReadahead(): void {
  const mappings = mappingsOf("maps");
  for (const mapping of mappings) advise(mapping, MADV_RANDOM);
  code = mappings.filter(({ isCode }) => isCode);
  divide();
}

/**
 * Unmaps the executable's pages, which stay in the page cache: most of them were for the start, and
 * count as this process's memory for as long as it lives.
 */
export function dropExecutablePages(): void {
  // Whole again, or there would be a thousand of them to read about.
  for (const mapping of code) advise(mapping, MADV_DODUMP);
  // What the process has written into its pages is nowhere else.
  const unwritten = mappingsOf("smaps").filter(({ text }) => /^Anonymous: +0 kB/m.test(text));
  for (const mapping of unwritten) advise(mapping, MADV_DONTNEED);
  divide();
}

/**
 * Linux 6.16 and later reads code ahead whatever the advice, but no farther than a mapping's end. A flag
 * that does nothing here, in every second piece, keeps the pieces apart.
 */
function divide(): void {
  for (const { address, length } of code) {
    for (let at = 0; at < length; at += 2 * piece) {
      advise({ address: address + at, length: Math.min(piece, length - at) }, MADV_DONTDUMP);
    }
  }
}

/** The executable's mappings, each with its part of the file. */
function mappingsOf(file: "maps" | "smaps") {
  const executable = readlinkSync(ownExecutable);
  return readFileSync(`/proc/self/${file}`, "utf8")
    .split(/^(?=[\da-f]+-)/m)
    .flatMap((text) => {
      const [, from, to, executes, path] =
        /^([\da-f]+)-([\da-f]+) r.(.)\S+ \S+ \S+ \S+ +(.*)/.exec(text) ?? [];
      if (path !== executable) return [];
      const address = Number(`0x${from}`);
      return [{ address, length: Number(`0x${to}`) - address, isCode: executes === "x", text }];
    });
}

/** What the kernel does not know, it refuses without harm. */
function advise({ address, length }: Mapping, advice: number): void {
  libc.syscall(SYS_madvise, address, length, advice, 0, 0);
}

/** How much is tried: a part in `make test`, all of it in `make soak`. */
import { resolve } from "node:path";
import { expect } from "vitest";
import { binDir } from "./cni.ts";

/** Whether this is `make soak`. */
export const soak = process.env["SOAK"] === "1";

/** Whether every row of every table is tried: in `make soak`, or with FAULT_STEP. */
export const isWhole = soak || process.env["FAULT_STEP"] !== undefined;

/** Whether the Bun build is under test, which most nodes run. The other makes the same system calls. */
export const isBun = binDir() === resolve("dist/bin");

/** One in how many faults is tried: FAULT_STEP, 1 in `make soak`, or what the test says. */
export function stepOf(bun: number, other: number): number {
  return Number(process.env["FAULT_STEP"] ?? (soak ? 1 : isBun ? bun : other));
}

/** How many tables each test file has had so far. */
const tables = new Map<string, number>();

/**
 * The rows of a table that are tried: all of them on Bun's build and in the long form. On the other
 * build, which is the same code on a runtime that takes eight times as long to start, it is one of
 * `of`, beginning with another one in each table, so that each table is tried there, too. One is
 * taken of each `of` in a row, in turn, for many tables have a backend's three in a row.
 */
export function some<T>(rows: readonly T[], of = 4): readonly T[] {
  const group = Math.min(of, rows.length);
  if (isBun || isWhole) return rows;
  // By file, for a worker has several, and not the same ones each time.
  const file = expect.getState().testPath ?? "";
  const first = tables.get(file) ?? 0;
  tables.set(file, first + 1);
  return rows.filter((_, at) => at % of === (first + Math.floor(at / of)) % group);
}

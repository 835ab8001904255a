/** How much is tried: a part in `make test`, all of it in `make soak`. */
import { resolve } from "node:path";
import { test } from "vitest";
import { agentWay } from "./agent_way.ts";
import { binDir } from "./cni.ts";
import { nameIn, sample } from "./sample.ts";

/** Whether this is `make soak`. */
export const soak = process.env["SOAK"] === "1";

/** Whether every row of every table is tried: in `make soak`, or with FAULT_STEP. */
export const isWhole = soak || process.env["FAULT_STEP"] !== undefined;

/** Whether the Bun build is under test, which most nodes run. The other makes the same system calls. */
export const isBun = binDir() === resolve("dist/bin") || agentWay() !== undefined;

/** One in how many faults is tried: FAULT_STEP, 1 in `make soak`, or what the test says. */
export function stepOf(bun: number, pkg: number): number {
  return Number(process.env["FAULT_STEP"] ?? (soak ? 1 : isBun ? bun : pkg));
}

type TestFor<Row> = ReturnType<typeof test.for<Row>>;

/** `test.for` with {@link some} of the rows, of whose names the title decides. */
export function testSome<Row>(rows: readonly Row[], onPkg = 4, onBun = 1): TestFor<Row> {
  const declare = (title: string, ...rest: readonly unknown[]): void => {
    // oxlint-disable-next-line vitest/no-disabled-tests, vitest/expect-expect, vitest/valid-title -- the callers make the tests
    const tests = test.for(some(title, rows, (row) => nameIn(title, row), onPkg, onBun));
    Reflect.apply(tests, undefined, [title, ...rest]);
  };
  return declare as TestFor<Row>;
}

/**
 * The rows of a table that are tried: all of them in the long form, and about one in `onBun` on Bun's
 * build. On the other build, which is the same code on a runtime that takes five times as long to start,
 * about one in `onPkg`.
 */
export function some<Row>(
  table: string,
  rows: readonly Row[],
  nameOf: (row: Row) => string,
  onPkg = 4,
  onBun = 1,
): readonly Row[] {
  return isWhole ? rows : sample(table, rows, nameOf, isBun ? onBun : onPkg);
}

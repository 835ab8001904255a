/** Runs a part of the tests of each file: about one in so many, and one at least. */
import type { RunnerTask, RunnerTestCase } from "vitest";
import { sample } from "./sample.ts";

const chosen = new Map<string, ReadonlySet<RunnerTestCase>>();

/** Whether a test is of the part. Its name decides. */
export function isInShare(task: RunnerTestCase, share: number): boolean {
  const { name, tasks } = task.file;
  const own = chosen.get(name) ?? new Set(sample(name, testsIn(tasks), nameOf, share));
  chosen.set(name, own);
  return own.has(task);
}

function testsIn(tasks: readonly RunnerTask[]): readonly RunnerTestCase[] {
  const all = tasks.flatMap((task) => (task.type === "suite" ? testsIn(task.tasks) : [task]));
  return all.filter(({ mode }) => mode === "run" || mode === "queued");
}

function nameOf({ fullTestName }: RunnerTestCase): string {
  return fullTestName;
}

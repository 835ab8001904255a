/**
 * Runs about one in NODE_SHARE of the tests of each file, and one at least. `make test` sets it for the
 * Node build, which is the same code as Bun's but for shared/runtime, and takes five times as long to
 * start.
 */
import { beforeEach, type RunnerTask, type RunnerTestCase } from "vitest";
import { sample } from "./sample.ts";

const share = Number(process.env["NODE_SHARE"] ?? 1);
const chosen = new Map<string, ReadonlySet<RunnerTestCase>>();

beforeEach(({ task, skip }) => {
  const { name, tasks } = task.file;
  const own = chosen.get(name) ?? new Set(sample(name, testsIn(tasks), nameOf, share));
  chosen.set(name, own);
  if (!own.has(task)) skip(`one in ${share} runs on the Node build`);
});

function testsIn(tasks: readonly RunnerTask[]): readonly RunnerTestCase[] {
  const all = tasks.flatMap((task) => (task.type === "suite" ? testsIn(task.tasks) : [task]));
  return all.filter(({ mode }) => mode === "run" || mode === "queued");
}

function nameOf({ fullTestName }: RunnerTestCase): string {
  return fullTestName;
}

/**
 * Runs the tests that can be run with an agent in each sandbox, and of these about one in AGENT_SHARE of each
 * file.
 */
import { matchesGlob } from "node:path";
import { beforeEach, type RunnerTestCase } from "vitest";
import { agentExceptions } from "./agent_exceptions.ts";
import { agentWay } from "./agent_way.ts";
import { isInShare } from "./share.ts";

const share = Number(process.env["AGENT_SHARE"] ?? 1);

beforeEach(({ task, skip }) => {
  const why = exceptionOf(task);
  if (why !== undefined) skip(why);
  if (!isInShare(task, share)) skip(`one in ${share} runs with an agent`);
});

function exceptionOf({ file, fullTestName }: RunnerTestCase): string | undefined {
  return agentExceptions.find(
    (exception) =>
      (exception.onlyDying !== true || agentWay() === "dying") &&
      matchesGlob(file.name, `test/${exception.file}`) &&
      exception.name?.test(fullTestName) === true,
  )?.why;
}

/**
 * Every call on a file of the plugins fails with each error of a disk. The answer has a code and comes
 * in time, ADD is rolled back, and the next DEL and ADD succeed.
 */
import { afterAll, describe, expect } from "vitest";
import { fileCalls, signature, trace, type SystemCall } from "../lab/strace.ts";
import { failAndRecover } from "./faults.ts";
import { testSome, stepOf } from "../helpers/form.ts";
import { callOf, SCENARIOS, type Scenario } from "./scenarios.ts";
import { POD, prepare, reset, upTo, type Wreck } from "./wreck.ts";

const ERRORS = ["ENOSPC", "EROFS", "EIO"];
const step = stepOf(80, 160);

const tally = { injected: 0, failed: 0 };
afterAll(() => {
  console.log(`file faults injected: ${tally.injected}, of which calls failed: ${tally.failed}`);
});

const cases = SCENARIOS.filter(({ name }) => !name.startsWith("bridge, nft")).flatMap((scenario) =>
  (["ADD", "DEL"] as const).map((command) => ({ scenario, name: scenario.name, command })),
);

describe.concurrent("each call on a file fails", () => {
  testSome(cases)("$name, $command", { timeout: 3_600_000 }, async (row) => {
    const { scenario, command } = row;
    const points = await filePoints(scenario, command);
    expect(points.length).toBeGreaterThan(2);
    const faults = points.flatMap((at) => ERRORS.map((error) => ({ at, error })));
    const failures: string[] = [];
    let wreck: Wreck | undefined;
    for (let n = cases.indexOf(row) % step; n < faults.length; n += step) {
      const { at, error } = faults[n] ?? { at: { name: "", nth: 0, text: "" }, error: "" };
      wreck ??= await prepare(scenario, "shared", false);
      try {
        await reset(wreck.node);
        const { node } = wreck;
        const failed = await failAndRecover(wreck, command, async (call) => {
          const { answer } = await trace(node, call, { at, fault: `error=${error}` });
          return answer;
        });
        tally.injected++;
        if (failed) tally.failed++;
      } catch (thrown) {
        failures.push(`${error} of ${at.text}: ${String(thrown)}`);
        await wreck.node.close();
        wreck = undefined;
      }
    }
    await wreck?.node.close();
    expect(failures).toEqual([]);
  });
});

/** The calls to fail. Of repeated calls, such as reads of one file, only the first. */
async function filePoints(
  scenario: Scenario,
  command: "ADD" | "DEL",
): Promise<readonly SystemCall[]> {
  const { node } = await prepare(scenario, "shared", false);
  await using _ = node;
  await reset(node);
  const prevResult = await upTo(node, scenario, command);
  const { answer, calls } = await trace(
    node,
    callOf(scenario, scenario.at, command, POD, prevResult),
  );
  expect(answer.code, answer.stdout + answer.stderr).toBe(0);
  const seen = new Set<string>();
  return fileCalls(calls).filter((call) => {
    const isNew = !seen.has(signature(call));
    seen.add(signature(call));
    return isNew;
  });
}

/**
 * Kills every plugin at every system call that changes something, in ADD and in DEL. The runtime's next
 * call must recover. The calls are counted first, so nothing depends on time.
 *
 * `make test` tries a part; SOAK=1 tries every recovery after every kill.
 */
import { afterAll, describe, expect } from "vitest";
import {
  alike,
  mutations,
  signature,
  targetByPath,
  trace,
  type SystemCall,
  type Target,
} from "../lab/strace.ts";
import { isWhole, soak, testSome, stepOf } from "../helpers/form.ts";
import { RECOVERIES, recover } from "./recovery.ts";
import { callOf, runChain, SCENARIOS, type Scenario } from "./scenarios.ts";
import { POD, prepare, reset, upTo, type Place, type Wreck } from "./wreck.ts";

/** `make test` tries a part of the kills, and fewer on the Node build, which makes the same calls. */
const partOfBun = 16;
const partOfPkg = 48;
const step = stepOf(partOfBun, partOfPkg);
const SIGKILLED = 128 + 9;

const tally = { points: 0, kills: 0 };
afterAll(() => {
  console.log(`kill points: ${tally.points}, kills survived: ${tally.kills}`);
});

const cases = SCENARIOS.flatMap((scenario) =>
  (["ADD", "DEL"] as const).flatMap((command) =>
    (["fresh", "shared"] as const).map((place) => ({
      scenario,
      name: scenario.name,
      command,
      place,
    })),
  ),
).filter(({ command, place }) => isWhole || command === "ADD" || place === "shared");

describe.concurrent("killed at each call that changes something", () => {
  testSome(cases)("$name, $command, $place node", { timeout: 3_600_000 }, async (row) => {
    const { scenario, command, place } = row;
    const points = await killPoints(scenario, command, place);
    tally.points += points.length;
    expect(points.length).toBeGreaterThan(2);
    const failures: string[] = [];
    let wreck: Wreck | undefined;
    const first = cases.indexOf(row) % step;
    for (let at = first; at < points.length; at += step) {
      const point = points[at];
      if (point === undefined) continue;
      const turn = RECOVERIES[Math.floor(at / step) % RECOVERIES.length] ?? "DEL";
      for (const recovery of soak ? RECOVERIES : [turn]) {
        wreck ??= await prepare(scenario, place);
        try {
          await reset(wreck.node);
          await killAt(wreck, command, point);
          await recover(wreck, recovery);
          tally.kills++;
          if (place === "shared") continue;
        } catch (error) {
          failures.push(`${recovery} after a kill at ${point.text}: ${String(error)}`);
        }
        await wreck.node.close();
        wreck = undefined;
      }
    }
    await wreck?.node.close();
    expect(failures).toEqual([]);
  });
});

/** The calls to kill at, in order. */
async function killPoints(
  scenario: Scenario,
  command: "ADD" | "DEL",
  place: Place,
): Promise<readonly KillPoint[]> {
  const { node } = await prepare(scenario, place, false);
  await using _ = node;
  const prevResult = await upTo(node, scenario, command);
  const { answer, calls } = await trace(
    node,
    callOf(scenario, scenario.at, command, POD, prevResult),
  );
  expect(answer.code, answer.stdout + answer.stderr).toBe(0);
  return mutations(calls).map((call) => ({
    ...call,
    rank: alike(calls, call).indexOf(call),
    byPath: targetByPath(calls, call),
  }));
}

/** A system call, and how many equal ones come before it. */
interface KillPoint extends SystemCall {
  readonly rank: number;
  readonly byPath: Target | undefined;
}

/**
 * The runtime's own calls vary from run to run, but none of them is on a file of the plugin. Calls on
 * files with random names must be hit by number too.
 */
const TRIES = 15;

async function killAt({ node, scenario }: Wreck, command: "ADD" | "DEL", point: KillPoint) {
  let last: SystemCall | undefined;
  let { nth } = point;
  for (let tries = 0; tries < TRIES; tries++) {
    const prevResult = await upTo(node, scenario, command);
    const call = callOf(scenario, scenario.at, command, POD, prevResult);
    const byPath = tries % 2 === 0 ? point.byPath : undefined;
    const at = byPath ?? { name: point.name, nth };
    const { answer, calls } = await trace(node, call, { at, fault: "signal=KILL" });
    last = calls.at(-1);
    if (last !== undefined && signature(last) === signature(point)) {
      expect(last.text).toMatch(/= \?$/);
      expect(answer.code, answer.stdout + answer.stderr).toBe(SIGKILLED);
      return;
    }
    // At its place in this run; if the plugin was killed before that, one call later.
    if (byPath === undefined) nth = alike(calls, point)[point.rank]?.nth ?? nth + 1;
    const { code, stdout } = await runChain(node, scenario, "DEL", POD);
    expect(code, stdout).toBe(0);
    await reset(node);
  }
  throw new Error(`killed at ${String(last?.text)} instead`);
}

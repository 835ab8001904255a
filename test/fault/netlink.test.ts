/**
 * Every netlink request of every plugin is refused with each errno of a kernel in trouble. The
 * executable is made for this test; its runtime answers in the kernel's place.
 */
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cni } from "../helpers/cni.ts";
import { failAndRecover } from "./faults.ts";
import { isBun, stepOf } from "../helpers/form.ts";
import { callOf, SCENARIOS, type Scenario } from "./scenarios.ts";
import { POD, prepare, reset, upTo, type Wreck } from "./wreck.ts";

const ERRNOS = { EPERM: 1, ENOMEM: 12, EBUSY: 16, EEXIST: 17, ENODEV: 19 };
const step = stepOf(64, 64);

const folder = resolve("dist/.work/fault");
const bin = `${folder}/bin`;

const tally = { injected: 0, failed: 0 };
afterAll(() => {
  console.log(`netlink faults injected: ${tally.injected}, of which calls failed: ${tally.failed}`);
});

const cases = SCENARIOS.filter(({ name }) => name !== "host-local").flatMap((scenario) =>
  (["ADD", "DEL"] as const).map((command) => ({ scenario, name: scenario.name, command })),
);

// Bun's compiler makes the executable. Both builds have the same code.
describe.runIf(isBun).concurrent("each netlink request is refused", () => {
  beforeAll(async () => {
    mkdirSync(folder, { recursive: true });
    const build = [
      "scripts/build/main.ts",
      "bin",
      "--entry=test/fault/entry_bun.ts",
      `--out=${bin}`,
    ];
    await execa(process.execPath, build);
  });

  test.for(cases)("$name, $command", { timeout: 3_600_000 }, async (row) => {
    const { scenario, command } = row;
    const count = await countRequests(scenario, command);
    const faults = Array.from({ length: count }, (_, at) =>
      Object.entries(ERRNOS).map(([name, errno]) => ({ name, fault: `${at + 1}:${errno}` })),
    ).flat();
    const failures: string[] = [];
    let wreck: Wreck | undefined;
    for (let n = cases.indexOf(row) % step; n < faults.length; n += step) {
      const { name = "", fault = "" } = faults[n] ?? {};
      wreck ??= await prepare(scenario, "shared", false);
      try {
        const { node } = wreck;
        await reset(node);
        const failed = await failAndRecover(
          wreck,
          command,
          async (call) =>
            cni(node, { ...call, bin, extraEnv: { ...call.extraEnv, FAULT_NETLINK: fault } }),
          // Something that exists already, such as a route, need not be made.
          name === "EEXIST",
        );
        tally.injected++;
        if (failed) tally.failed++;
      } catch (thrown) {
        failures.push(`${name} to request ${fault} of ${count}: ${String(thrown)}`);
        await wreck.node.close();
        wreck = undefined;
      }
    }
    await wreck?.node.close();
    expect(failures).toEqual([]);
  });
});

async function countRequests(scenario: Scenario, command: "ADD" | "DEL"): Promise<number> {
  const { node } = await prepare(scenario, "shared", false);
  await using _ = node;
  await reset(node);
  const prevResult = await upTo(node, scenario, command);
  const call = callOf(scenario, scenario.at, command, POD, prevResult);
  const extraEnv = { ...call.extraEnv, FAULT_NETLINK: "count" };
  const { code, stdout, stderr } = await cni(node, { ...call, bin, extraEnv });
  expect(code, stdout + stderr).toBe(0);
  return Number(/requests: (\d+)/.exec(stderr)?.[1]);
}

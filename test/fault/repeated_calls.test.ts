/**
 * A process that makes thousands of calls keeps no descriptor open and no memory: a resident server
 * stands on that. Of the 8 calls of a round two are refused.
 *
 * The short form makes 300 rounds of the plugins that wait for nothing, and 80 of those for which the
 * kernel frees links and rules, some 50 ms a round. The long form (SOAK=1) makes 4,000 of each.
 */
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { createSandbox } from "../helpers/cni.ts";
import { isBun, soak } from "../helpers/form.ts";
import { DUAL_STACK, writeSubnetEnv } from "../helpers/network.ts";
import type { Cost } from "./repeated_calls.ts";

const script = fileURLToPath(import.meta.resolve("./repeated_calls.ts"));
const warmup = 200;
/** Bytes that all calls together may keep. A hundred or so for each would be more. */
const slack = 1_000_000;

const plugins = [
  { plugin: "bridge", short: 80 },
  { plugin: "flannel", short: 80 },
  { plugin: "host-local", short: 300 },
  { plugin: "loopback", short: 300 },
  { plugin: "portmap", short: 80 },
];

// They run in this test's own runtime, so once is enough.
describe.runIf(isBun).concurrent("many calls of each verb in one process", () => {
  test.for(plugins)("of $plugin leave nothing", { timeout: 1_000_000 }, async (row) => {
    const { plugin, short } = row;
    const rounds = soak ? 4000 : short;
    await using sandbox = await createSandbox();
    await writeSubnetEnv(sandbox, DUAL_STACK);
    const pod = await sandbox.addPod("pod1");
    const args = ["--expose-gc", script, plugin, String(warmup), String(rounds), pod.netnsPath];
    const { exitCode, stdout, stderr } = await sandbox.exec(process.execPath, args, {
      timeout: 900_000,
    });
    expect(exitCode, stderr).toBe(0);
    const { calls, descriptors, memory } = JSON.parse(stdout) as Cost;
    console.log(`${plugin}: ${calls} calls, ${descriptors} descriptors, ${memory} bytes more`);
    expect({ calls, descriptors }).toEqual({ calls: 8 * rounds, descriptors: 0 });
    expect(memory).toBeLessThan(slack);
  });
});

/**
 * A process that makes a thousand calls of each verb, or in the long form (SOAK=1) 4,000, keeps no
 * descriptor open and no memory: a resident server stands on that. Of the 8 calls of a round two are
 * refused.
 */
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { createSandbox } from "../helpers/cni.ts";
import { isBun, soak } from "../helpers/form.ts";
import { DUAL_STACK, writeSubnetEnv } from "../helpers/network.ts";
import type { Cost } from "./repeated_calls.ts";

const script = fileURLToPath(import.meta.resolve("./repeated_calls.ts"));
const warmup = 200;
const rounds = soak ? 4000 : 1000;
/** Bytes that all calls together may keep. A hundred or so for each would be more. */
const slack = 1_000_000;

const plugins = ["bridge", "flannel", "host-local", "loopback", "portmap"];

// They run in this test's own runtime, so once is enough.
describe.runIf(isBun).concurrent("many calls of each verb in one process", () => {
  test.for(plugins)("of %s leave nothing open", { timeout: 1_000_000 }, async (plugin) => {
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

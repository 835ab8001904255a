/**
 * Many calls in one agent: descriptors and memory do not grow, and when no calls come it does nothing. The
 * short form makes 600 calls; the long form (SOAK=1) 100,000, and 1,000 pods.
 */
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { limitMemory, memoryController } from "../lab/cgroups.ts";
import type { Conf } from "../helpers/cni.ts";
import { isBun, soak } from "../helpers/form.ts";
import { callOf, createAgentLab, resultOf, usageOf } from "./agent_lab.ts";
import type { AgentLab } from "./agent_lab.ts";

const calls = Number(process.env["AGENT_CALLS"] ?? (soak ? 100_000 : 600));
const pods = soak ? 1000 : 30;
/** Megabytes of the agent's own memory when no calls come. */
const mostOwnMegabytes = 45;
/** Milliseconds after which it has collected its garbage, and the kernel has got its pages back. */
const quiet = 5000;
const perAsk = 50;

const controller = memoryController();
/** What its container may take. */
const manifestMegabytes = Number(
  /limits:\s+memory: (\d+)Mi/.exec(readFileSync("deploy/kube-flannel-agent.yml", "utf8"))?.[1],
);

const port = (hostPort: number, more: Conf = {}): Conf => ({
  cniVersion: "1.0.0",
  name: "cbr0",
  type: "portmap",
  runtimeConfig: { portMappings: [{ hostPort, containerPort: 80, protocol: "tcp" }] },
  ...more,
});

const resultFor = (lab: AgentLab, pod: string, prevResult: unknown) => {
  const withResult = { prevResult } as Conf;
  return {
    addPort: callOf(lab, "ADD", pod, port(8080, withResult)),
    delPort: callOf(lab, "DEL", pod, port(8080, withResult)),
  };
};

describe.runIf(isBun)("many calls in one agent", () => {
  test("leave no descriptor open and no memory taken", { timeout: 3_600_000 }, async () => {
    await using lab = await createAgentLab();
    const client = await lab.client();
    await lab.node.addPod("pod1");
    const add = callOf(lab, "ADD", "pod1");
    const del = callOf(lab, "DEL", "pod1");
    const added = resultOf(await client.call(add));
    const { addPort, delPort } = resultFor(lab, "pod1", added);
    resultOf(await client.call(del));
    const round = [add, addPort, delPort, del];
    const life = async (rounds: number): Promise<void> => {
      for (let left = rounds; left > 0; left -= perAsk) {
        const { failures } = await client.repeat(round, Math.min(left, perAsk));
        expect(failures).toEqual([]);
      }
    };
    const parts = soak ? 10 : 3;
    const usages: ReturnType<typeof usageOf>[] = [];
    for (let part = 0; part < parts; part++) {
      await life(Math.ceil(calls / round.length / parts));
      await delay(quiet);
      usages.push(usageOf(lab.agent));
    }
    const memory = usages.map(({ ownMegabytes }) => ownMegabytes.toFixed(1)).join(" ");
    console.log(`agent: ${String(calls)} calls, own memory in MB after each ${parts}th: ${memory}`);
    expect(new Set(usages.map(({ descriptors }) => descriptors)).size).toBe(1);
    const own = usages.map(({ ownMegabytes }) => ownMegabytes);
    expect(Math.max(...own)).toBeLessThan(mostOwnMegabytes);
    // Until then the engine has not compiled everything.
    const second = own.slice(parts / 2);
    if (soak) expect(Math.max(...second) - Math.min(...second)).toBeLessThan(4);
  });

  test("for many pods: it stays small, and idle when no calls come", {
    timeout: 600_000,
  }, async () => {
    const group =
      controller === undefined ? undefined : await limitMemory(controller, manifestMegabytes);
    onTestFinished(async () => group?.remove());
    await using lab = await createAgentLab([], group?.processes);
    const client = await lab.client();
    const names = Array.from({ length: pods }, (_, n) => `pod${String(n)}`);
    await lab.node.addPods(names);
    await lab.node.writeFile("/run/flannel/subnet.env", wideSubnet);
    for (const [n, name] of names.entries()) {
      const prevResult = resultOf(await client.call(callOf(lab, "ADD", name)));
      const mapping = port(10_000 + n, { prevResult });
      resultOf(await client.call(callOf(lab, "ADD", name, mapping)));
    }
    await delay(quiet);
    const before = usageOf(lab.agent);
    await delay(2000);
    const after = usageOf(lab.agent);
    console.log(`agent: ${String(pods)} pods, ${JSON.stringify(after)}`);
    expect(after.ownMegabytes).toBeLessThan(mostOwnMegabytes);
    expect(after.ticks - before.ticks).toBeLessThanOrEqual(1);
    if (group === undefined) return;
    const figures = group.figures();
    // Nothing may be left in a group that is removed.
    await lab.agent.end();
    console.log(`in a group of ${String(manifestMegabytes)} MiB: ${JSON.stringify(figures)}`);
    // It may drop pages of files, but has never had to wait for room.
    expect(figures.refusals).toBe(0);
  });
});

/** Room for a thousand pods. */
const wideSubnet = [
  "FLANNEL_NETWORK=10.244.0.0/16",
  "FLANNEL_SUBNET=10.244.8.1/21",
  "FLANNEL_MTU=1450",
  "FLANNEL_IPMASQ=true",
  "",
].join("\n");

/**
 * The agent and its clients are killed at random moments, and pods come and go meanwhile: what is left is
 * exactly the pods'. The short form has 12 kills and 24 pods; the long form (SOAK=1) 300, and 500 pods, 32
 * at once.
 */
import { describe, expect, test } from "vitest";
import { eventually } from "../lab/eventually.ts";
import { leftovers } from "../lab/leftovers.ts";
import { binDir, cni, createSandbox, type CniJson, type Sandbox } from "../helpers/cni.ts";
import { startDaemon, type Daemon } from "../helpers/flanneld.ts";
import { isBun, soak } from "../helpers/form.ts";
import { IPV4, writeSubnetEnv } from "../helpers/network.ts";
import { flannelConf } from "./agent_lab.ts";
import { Crowd, crowd, tally } from "./crowd.ts";
import { generator } from "./random.ts";

const bin = binDir();
const kills = Number(process.env["AGENT_KILLS"] ?? (soak ? 300 : 12));
const pods = soak ? 500 : 24;
const atOnce = soak ? 32 : 8;

/** Keeps an agent running, and ends each after a time. @param seconds of each; 0 for ever. */
function superviseAgent(sandbox: Sandbox, seconds: number): Daemon {
  const agent = `${bin}/flannel agent`;
  const once = seconds === 0 ? agent : `timeout --foreground -s KILL ${String(seconds)} ${agent}`;
  return startDaemon(sandbox, "sh", ["-c", `while :; do ${once} 2>/dev/null; done`]);
}

const portmapOf = (prevResult: CniJson) => ({
  cniVersion: "1.0.0",
  name: "cbr0",
  type: "portmap",
  runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
  prevResult,
});

/** What the agent's own files and processes make different. */
const ofAgent = /\/run\/flannel-cni\/agent|processes: |mounts: \/run\/netns/;

describe.runIf(isBun)("agents and clients that are killed at random moments", () => {
  test("leave what a killed plugin leaves", { timeout: 3_600_000 }, async () => {
    await using node = await createSandbox();
    await writeSubnetEnv(node, [IPV4]);
    await node.addPod("pod1");
    const before = await node.snapshot();
    superviseAgent(node, 0);
    const next = generator(Number(process.env["AGENT_SEED"] ?? 1));
    const pod = { bin, containerId: "pod1", netns: "/run/netns/pod1", conf: flannelConf };
    const counts = { clients: 0, agents: 0, added: 0 };
    for (let round = 0; round < kills; round++) {
      const time = (0.002 + next() * 0.03).toFixed(4);
      const isClient = round % 2 === 0;
      const prefix = isClient ? { prefix: ["timeout", "--foreground", "-s", "KILL", time] } : {};
      const killAgent = `sleep ${time}; pkill -KILL -f '^${bin}/flannel agent$' || true`;
      const [added] = await Promise.all([
        cni(node, { ...pod, plugin: "flannel", command: "ADD", ...prefix }),
        isClient ? undefined : node.sh(killAgent),
      ]);
      counts[isClient ? "clients" : "agents"]++;
      if (added.code === 0 && added.json !== undefined) {
        counts.added++;
        const port = { ...pod, plugin: "portmap", conf: portmapOf(added.json) };
        await cni(node, { ...port, command: "ADD", ...prefix });
        const removed = await cni(node, { ...port, command: "DEL" });
        expect([removed.code, removed.stdout]).toEqual([0, ""]);
      }
      // The runtime's DEL, during which the agent may be killed again.
      const [removed] = await Promise.all([
        cni(node, { ...pod, plugin: "flannel", command: "DEL" }),
        isClient ? undefined : node.sh(killAgent),
      ]);
      expect([removed.code, removed.stdout]).toEqual([0, ""]);
      // An agent that still makes the call of a killed client undoes it.
      const links = async () => node.sh("ip -n pod1 -br link show type veth");
      expect(await eventually(links, (text) => text === "")).toBe("");
      if (round % 10 !== 9 && round !== kills - 1) continue;
      const left = async () =>
        leftovers(before, await node.snapshot()).filter((line) => !ofAgent.test(line));
      expect(await eventually(left, (lines) => lines.length === 0)).toEqual([]);
    }
    console.log(`agent kills: ${JSON.stringify(counts)}`);
    expect(counts.added).toBeGreaterThan(0);
  });

  test("a crowd of pods has no address twice, with a new agent each second", async () => {
    await using node = await createSandbox();
    await writeSubnetEnv(node, [IPV4]);
    await node.sh("mkdir -p /run/netns");
    const before = await node.snapshot();
    superviseAgent(node, 1);
    const wave = new Crowd(node, 1);
    await crowd(pods, atOnce, async (n) => wave.live(n));
    console.log(`crowd with agents: ${JSON.stringify(tally)}`);
    expect(tally.duplicates).toBe(0);
    const left = leftovers(before, await node.snapshot());
    expect(left.filter((line) => !ofAgent.test(line))).toEqual([]);
  }, 3_600_000);
});

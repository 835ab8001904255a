/**
 * A call that its runtime has given up, and that the agent is still at: what the runtime does next for the same
 * pod, while the agent takes no calls, must not meet it. strace makes the agent late.
 */
import { describe, expect, test } from "vitest";
import { startAgent } from "../helpers/agent.ts";
import {
  binDir,
  cni,
  createSandbox,
  leftovers,
  type CniAnswer,
  type Sandbox,
} from "../helpers/cni.ts";
import { startDaemon } from "../helpers/flanneld.ts";
import { isBun } from "../helpers/form.ts";
import { bridgeConf, IPV4 } from "../helpers/network.ts";
import { eventually } from "../lab/eventually.ts";
import type { Snapshot } from "../lab/snapshot.ts";

const conf = { ...bridgeConf([IPV4]), macspoofchk: true };
const call = { bin: binDir(), plugin: "bridge", conf } as const;
const trace = "/run/trace";

const mostAttempts = 5;

interface LateNode {
  readonly node: Sandbox;
  readonly before: Snapshot;
}

/** A node with a pod and an agent that is late once, after its words to the client, and an ADD that is given up. */
async function lateNode(at: number, seconds: number): Promise<LateNode> {
  for (let attempt = 0; attempt < mostAttempts; attempt++) {
    const late = await tryLateNode(at, seconds);
    if (late !== undefined) return late;
  }
  throw new Error(`None of ${mostAttempts} agents has taken the call.`);
}

/** @returns undefined if the client has not got the agent's offer in its 50 ms, under strace and others' load. */
async function tryLateNode(at: number, seconds: number): Promise<LateNode | undefined> {
  const node = await createSandbox();
  await node.addPods(["pod1", "pod2"]);
  await startAgent(node);
  const before = await node.snapshot();
  const [pid = ""] = (await node.sh(`pgrep -f '^${binDir()}/flannel agent$'`)).split("\n");
  const late = ["-e", "trace=sendto", "-e", `inject=sendto:delay_enter=${seconds}s:when=${at}`];
  startDaemon(node, "strace", ["-f", "-qq", "-o", trace, ...late, "-p", pid]);
  await eventually(
    async () => node.sh(`grep TracerPid /proc/${pid}/status`),
    (text) => !text.includes("\t0\n"),
  );
  let hasEnded = false;
  const makeCall = async (): Promise<CniAnswer> => {
    const answer = await cni(node, { ...call, command: "ADD" });
    hasEnded = true;
    return answer;
  };
  const add = makeCall();
  await eventually(
    async () => node.sh(`grep -c 'sendto(' ${trace} || true`),
    (requests) => hasEnded || Number(requests) >= at,
    20_000,
  );
  if (hasEnded) {
    await node.close();
    return undefined;
  }
  // As a runtime does that gives it up.
  await node.sh("pkill -KILL -x bridge");
  expect((await add).stdout).toBe("");
  return { node, before };
}

describe.runIf(isBun).concurrent("an ADD that is given up", () => {
  // After its own words to the client, the agent's requests to the kernel.
  test.each([4, 6])("does not meet the next one of its pod (at request %i)", async (at) => {
    const { node, before } = await lateNode(at, 3);
    await using _ = node;
    const started = performance.now();
    expect(await cni(node, { ...call, command: "DEL" })).toMatchObject({ code: 0 });
    const next = await cni(node, { ...call, command: "ADD" });
    expect(next.code, next.stdout).toBe(0);
    const prevResult = next.json;
    await node.sh(`sleep ${Math.max(0, 4 - (performance.now() - started) / 1000)}`);
    const check = await cni(node, { ...call, command: "CHECK", conf: { ...conf, prevResult } });
    expect(check.code, check.stdout).toBe(0);
    expect(await node.sh("nft list ruleset")).toContain("pod1");
    expect(await cni(node, { ...call, command: "DEL" })).toMatchObject({ code: 0 });
    const left = leftovers(before, await node.snapshot());
    expect(left.filter((line) => !/\/run\/trace|processes: /.test(line))).toEqual([]);
  });
  test("keeps the next call of its pod waiting for 10 seconds, and of no other", async () => {
    const { node } = await lateNode(4, 25);
    await using _ = node;
    const calls = await Promise.all([
      cni(node, { ...call, command: "DEL" }),
      cni(node, { ...call, command: "DEL", containerId: "pod2", netns: "/run/netns/pod2" }),
    ]);
    expect(calls).toMatchObject([{ code: 1, json: { code: 11 } }, { code: 0 }]);
    const [{ ms, json }, second] = calls;
    expect(json?.msg).toContain("the agent must end an earlier call for the container first");
    expect([ms > 10_000, ms < 15_000, second.ms < 5000]).toEqual([true, true, true]);
  });
});

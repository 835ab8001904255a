/**
 * An ADD that is late, as one whose runtime has given it up: by the time of each of its requests to the kernel,
 * another call may have deleted its link, and made the next one of the same name.
 */
import { describe, expect, test } from "vitest";
import { binDir, cni, createSandbox, type CniCall, type Sandbox } from "../helpers/cni.ts";
import { bridgeConf, DUAL_STACK } from "../helpers/network.ts";
import { eventually } from "../lab/eventually.ts";

const conf = { ...bridgeConf(DUAL_STACK), hairpinMode: true };
const call: CniCall = { bin: binDir(), plugin: "bridge", command: "ADD", conf };
const trace = "/run/trace";
const strace = ["strace", "-f", "-qq", "-e", "trace=sendto", "-o", trace];

async function node(): Promise<Sandbox> {
  const sandbox = await createSandbox();
  await sandbox.addPods(["pod0", "pod1"]);
  // The bridge is there, as on any node.
  await cni(sandbox, { ...call, containerId: "pod0", netns: "/run/netns/pod0" });
  return sandbox;
}

/** The requests to the kernel of an ADD; and the first one after the link is made. */
async function requests(): Promise<{ all: number; first: number }> {
  await using sandbox = await node();
  const { code } = await cni(sandbox, { ...call, prefix: strace });
  const lines = (await sandbox.readFile(trace)).trim().split("\n");
  expect(code).toBe(0);
  return { all: lines.length, first: lines.findIndex((line) => line.includes("veth")) + 2 };
}

/**
 * Stops an ADD after the request before that of a number, and replaces its link.
 * @returns false if it has ended by then.
 */
async function isSparedBy(at: number): Promise<boolean> {
  await using sandbox = await node();
  const inject = ["-e", `inject=sendto:signal=STOP:when=${at - 1}`];
  let hasEnded = false;
  const run = async () => {
    const answer = await cni(sandbox, { ...call, prefix: [...strace, ...inject] });
    hasEnded = true;
    return answer;
  };
  const add = run();
  const stopped = await eventually(
    async () => sandbox.sh(`grep -sc 'stopped by SIGSTOP' ${trace} || true`),
    (lines) => Number(lines) > 0 || hasEnded,
    20_000,
  );
  if (Number(stopped) === 0) {
    expect((await add).code).toBe(0);
    return false;
  }
  await sandbox.sh(
    "ip -n pod1 link delete eth0; ip -n pod1 link add eth0 type veth peer name next0",
  );
  const look = "ip -n pod1 -d address show eth0; ip -n pod1 route; ip -n pod1 -6 route";
  const next = await sandbox.sh(look);
  await sandbox.sh("pkill -CONT -f '/bridge$'");
  await add;
  expect(await sandbox.sh(look), `request ${at}`).toBe(next);
  return true;
}

describe("an ADD that is late", () => {
  test("changes nothing of the next link of the same name, at any of its requests", async () => {
    const { all, first } = await requests();
    expect(all).toBeGreaterThan(first + 2);
    const late = Array.from({ length: all - first + 1 }, (_, at) => first + at);
    const stops = await Promise.all(late.map(async (at) => isSparedBy(at)));
    // How often it looks while it waits for the kernel, the end of it, is chance.
    expect(stops.filter((isStopped) => isStopped).length).toBeGreaterThanOrEqual(4);
  });
});

/** A cluster that is ended in the middle leaves as little on the machine as one that is closed. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { expectSoon } from "../helpers/kube.ts";
import { createKubeCluster } from "../lab/cluster/cluster.ts";
import { machineState, namespacesOf, processesBelow, survivors } from "../lab/cluster/traces.ts";

const program = fileURLToPath(import.meta.resolve("../lab/cluster/trial.ts"));

/** Starts a process that makes a cluster and runs a pod in it, and waits until the node is at that. */
async function startCluster(): Promise<ChildProcess & { pid: number }> {
  const child = spawn(process.execPath, [program], { detached: true, stdio: "ignore" });
  const { pid } = child;
  if (pid === undefined) throw new Error("no cluster starts");
  onTestFinished(() => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-pid, "SIGKILL");
  });
  await expectSoon("the pod has a process", async () =>
    processesBelow([pid]).some(({ name }) => name === "(pause)"),
  );
  return Object.assign(child, { pid });
}

test.for([
  ["SIGINT", "as by Ctrl-C"],
  ["SIGTERM", "as by timeout(1)"],
  ["SIGKILL", "as for want of memory"],
] as const)("%s, %s: nothing is left", async ([signal]) => {
  const before = machineState();
  const child = await startCluster();
  const processes = processesBelow([child.pid]);
  const namespaces = namespacesOf(processes);
  const made = machineState(child.pid).filter((line) => !before.includes(line));
  expect(made.map((line) => line.split(" ")[0])).toEqual(
    expect.arrayContaining(["disk", "cgroup"]),
  );
  expect(new Set([...namespaces].map((name) => name.split(":")[0]))).toContain("net");
  const ended = once(child, "exit");
  process.kill(-child.pid, signal);
  await ended;
  const left = () => [
    ...machineState(child.pid).filter((line) => !before.includes(line)),
    ...survivors(processes, namespaces),
  ];
  await expectSoon("all is gone", async () => left().length === 0).catch((error: unknown) => {
    throw new Error(`This is left:\n${left().join("\n")}`, { cause: error });
  });
});

test("a cluster that cannot start leaves nothing, and says why", async () => {
  const before = machineState();
  const absent = "/no/such/image.tar";
  await expect(createKubeCluster({ nodes: 1, images: [absent] })).rejects.toThrow(absent);
  expect(machineState().filter((line) => !before.includes(line))).toEqual([]);
  // All that it ran was in other namespaces.
  expect([...namespacesOf(processesBelow([process.pid]))]).toEqual([]);
});

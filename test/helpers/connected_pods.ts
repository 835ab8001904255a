/** Two pods of a cluster that are connected while something is done to it. */
import { expect } from "vitest";
import type { KubeCluster } from "../lab/cluster/cluster.ts";
import type { Peer } from "../lab/traffic.ts";
import { openConnection, runPods, serveIn, type Connection, type RunningPod } from "./kube.ts";

export interface ConnectedPods {
  /** "left" on the first node, with the host port 8001, and "right" on the second, with 8002. */
  readonly pods: readonly RunningPod[];
  readonly peers: readonly Peer[];
  readonly connection: Connection;
}

/** Runs two pods and connects them. */
export async function startConnectedPods(cluster: KubeCluster): Promise<ConnectedPods> {
  const pods = await runPods(cluster, [
    { name: "left", node: 1, hostPort: 8001 },
    { name: "right", node: 2, hostPort: 8002 },
  ]);
  const peers = await Promise.all(pods.map(serveIn));
  const [left, right] = pods;
  if (left === undefined || right === undefined) throw new Error("the pods do not run");
  return { pods, peers, connection: await openConnection(left, right) };
}

/** Expects that the pods run on, with the addresses and the connection that they had. */
export async function expectUnchanged(
  { plane }: KubeCluster,
  { pods, connection }: ConnectedPods,
): Promise<void> {
  for (const { name, addresses } of pods) {
    const jsonPath = "jsonpath={.status.podIP} {.status.containerStatuses[0].restartCount}";
    const now = await plane.kubectl("get", "pod", name, "-o", jsonPath);
    expect(now).toBe(`${addresses[0]} 0`);
  }
  expect(await connection.echo("as before")).toBe("as before");
}

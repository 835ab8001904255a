/** From flannel's own manifest to this one in place, and back, while pods run and talk. */
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  expectUnchanged,
  startConnectedPods,
  type ConnectedPods,
} from "../helpers/connected_pods.ts";
import {
  containerPort,
  expectAnswer,
  imageArchive,
  installFlannel,
  runPods,
} from "../helpers/kube.ts";
import {
  prepareForReturn,
  prepareForUpstream,
  upstreamManifest,
} from "../helpers/upstream_flannel.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";

let cluster: KubeCluster;
let connected: ConnectedPods;

beforeAll(async () => {
  cluster = await createKubeCluster({ nodes: 2, images: [imageArchive()] });
  for (const number of [1, 2]) await prepareForUpstream(cluster.node(number));
});

afterAll(async () => {
  await cluster.close();
});

/** Expects that the first pods have the addresses and the connection they had, and that all is reached. */
async function expectAsBefore(): Promise<void> {
  await expectUnchanged(cluster, connected);
  for (const peer of connected.peers) {
    for (const [at, { name: server, addresses }] of connected.pods.entries()) {
      await expectAnswer(peer, { address: addresses[0] ?? "", port: containerPort, server });
      await expectAnswer(peer, { address: `10.77.0.1${at + 1}`, port: 8001 + at, server });
    }
  }
}

/** Runs a pod on each node, which the first pods reach. */
async function expectNewPods(name: string): Promise<void> {
  const added = await runPods(cluster, [
    { name: `${name}1`, node: 1 },
    { name: `${name}2`, node: 2 },
  ]);
  for (const { addresses } of added) {
    for (const { namespace } of connected.pods) {
      expect(await namespace.ping(addresses[0] ?? ""), addresses[0]).toBe(true);
    }
  }
}

test("flannel's own manifest v0.28: the Go flanneld runs", async () => {
  await installFlannel(cluster, upstreamManifest());
  connected = await startConnectedPods(cluster);
  await expectAsBefore();
});

test("this one in its place: pods keep their addresses and connections", async () => {
  await installFlannel(cluster);
  await expectAsBefore();
  await expectNewPods("ours");
});

test("and back", async () => {
  for (const number of [1, 2]) await prepareForReturn(cluster.node(number));
  await installFlannel(cluster, upstreamManifest());
  await expectAsBefore();
  await expectNewPods("theirs");
  const { sandbox } = cluster.node(1);
  expect(await sandbox.readFile("/opt/cni/bin/flannel")).toContain("this is flannel");
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

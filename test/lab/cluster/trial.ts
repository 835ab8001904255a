/**
 * Tries whether this machine can run clusters: a control plane, a node, and a pod in the node's own
 * network, with no network plugin. It prints why not.
 */
import { setTimeout as delay } from "node:timers/promises";
import { PAUSE_IMAGE } from "../pause_image.ts";
import { createKubeCluster } from "./cluster.ts";

const LIMIT_MS = 90_000;

const pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "trial" },
  spec: {
    nodeName: "n1",
    hostNetwork: true,
    terminationGracePeriodSeconds: 0,
    tolerations: [{ operator: "Exists" }],
    containers: [{ name: "pause", image: PAUSE_IMAGE }],
  },
};

try {
  await using cluster = await createKubeCluster({ nodes: 1 });
  const { plane } = cluster;
  await plane.apply(JSON.stringify(pod));
  const phase = async () => plane.kubectl("get", "pod", "trial", "-o", "jsonpath={.status.phase}");
  const end = performance.now() + LIMIT_MS;
  while ((await phase()) !== "Running") {
    if (performance.now() > end) {
      const what = await plane.kubectl("describe", "pod", "trial");
      const log = await cluster.node(1).part("kubelet").log();
      throw new Error(`A pod does not run within ${LIMIT_MS / 1000} s:\n${what}\n${log}`);
    }
    await delay(200);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

/** A cluster that gives its nodes no pod network, as where kubeadm was not told of one. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { expectSoon, imageArchive, manifest, runPods, whenInstalled } from "../helpers/kube.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";

let cluster: KubeCluster;

beforeAll(async () => {
  cluster = await createKubeCluster({ nodes: 1, givesSubnets: false, images: [imageArchive()] });
});

afterAll(async () => {
  await cluster.close();
});

/** What `kubectl get pods` says of a field of flanneld's container. */
async function statusOf(field: string): Promise<string> {
  return cluster.plane.kubectl(
    ...["get", "pods", "-n", "kube-flannel", "-o"],
    `jsonpath={.items[*].status.containerStatuses[*].${field}}`,
  );
}

test("flanneld waits, and `kubectl describe node` says for what", async () => {
  await cluster.plane.apply(manifest());
  await expectSoon("the node has an event", async () => {
    const text = await cluster.plane.kubectl("describe", "node", "n1");
    return /FlannelWaiting.*pod ?CIDR/i.test(text);
  });
  expect(await statusOf("restartCount")).toBe("0");
  expect(await statusOf("state.running.startedAt")).not.toBe("");
  expect(await statusOf("ready")).toBe("false");
});

test("with a pod network, it goes on without a restart, and pods run", async () => {
  const spec = { podCIDR: "10.244.5.0/24", podCIDRs: ["10.244.5.0/24"] };
  await cluster.plane.kubectl("patch", "node", "n1", "-p", JSON.stringify({ spec }));
  await whenInstalled(cluster);
  const [pod] = await runPods(cluster, [{ name: "pod", node: 1 }]);
  expect(pod?.addresses).toEqual([expect.stringMatching(/^10\.244\.5\./)]);
  expect(await statusOf("restartCount")).toBe("0");
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

/** An installation as the documents have it: the image by ctr, then one manifest. */
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  containerPort,
  expectAnswer,
  expectAnswerSoon,
  expectSoon,
  imageArchive,
  installFlannel,
  runPods,
  serveIn,
  whenInstalled,
  type RunningPod,
} from "../helpers/kube.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";
import { startPeer, type Peer } from "../lab/traffic.ts";

let cluster: KubeCluster;
let pods: readonly RunningPod[];
let peers: readonly Peer[];
/** On the router: outside of the cluster. */
let client: Peer;

beforeAll(async () => {
  cluster = await createKubeCluster({ nodes: 3, booted: 2, images: [imageArchive()] });
});

afterAll(async () => {
  await cluster.close();
});

test("the image by ctr, one manifest: nodes become ready, and pods run", async () => {
  await installFlannel(cluster);
  pods = await runPods(cluster, [
    { name: "web1", node: 1, app: "web", hostPort: 8001 },
    { name: "web2", node: 2, app: "web", hostPort: 8002 },
    { name: "near", node: 1 },
  ]);
  expect(pods.map(({ addresses }) => addresses)).toEqual([
    [expect.stringMatching(/^10\.244\.\d+\.\d+$/)],
    [expect.stringMatching(/^10\.244\.\d+\.\d+$/)],
    [expect.stringMatching(/^10\.244\.\d+\.\d+$/)],
  ]);
  peers = await Promise.all(pods.map(serveIn));
  client = await startPeer({ name: "client", start: cluster.fabric.router.start });
});

test("pods reach each other on one node, across nodes, and by a pod's host port", async () => {
  for (const peer of peers) {
    for (const { name: server, addresses } of pods) {
      await expectAnswer(peer, { address: addresses[0] ?? "", port: containerPort, server });
    }
  }
  for (const asker of [...peers, client]) {
    await expectAnswer(asker, { address: "10.77.0.11", port: 8001, server: "web1" });
    await expectAnswer(asker, { address: "10.77.0.12", port: 8002, server: "web2" });
  }
});

test("kube-proxy's ClusterIP and NodePort lead to the pods of a Service", async () => {
  await cluster.plane.apply(
    JSON.stringify({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web" },
      spec: {
        type: "NodePort",
        clusterIP: "10.96.7.7",
        selector: { app: "web" },
        ports: [{ port: 8080, targetPort: containerPort, nodePort: 30_080 }],
      },
    }),
  );
  const service = { address: "10.96.7.7", port: 8080, server: /^web[12]$/ };
  for (const peer of peers) await expectAnswerSoon(peer, service);
  for (const address of ["10.77.0.11", "10.77.0.12"]) {
    await expectAnswerSoon(client, { address, port: 30_080, server: /^web[12]$/ });
  }
});

test("doctor says the same on the node and in the DaemonSet's container", async () => {
  const { sandbox } = cluster.node(1);
  const onNode = await sandbox.exec("/opt/cni/bin/flannel", ["cnitool", "doctor"]);
  const daemonPod = await cluster.plane.kubectl(
    ...["get", "pods", "-n", "kube-flannel", "-o", "name"],
    ...["--field-selector", "spec.nodeName=n1"],
  );
  const inside = await cluster.plane.tryKubectl([
    ...["exec", "-n", "kube-flannel", daemonPod.trim(), "-c", "kube-flannel", "--"],
    ...["/flannel", "cnitool", "doctor"],
  ]);
  expect(onNode).toMatchObject({ exitCode: 0, stderr: "" });
  expect(inside.stdout).toBe(onNode.stdout);
  expect(inside.exitCode, inside.stderr).toBe(0);
});

test("flanneld asks the API for nothing that the manifest's roles do not name", async () => {
  const requests = new Set(await cluster.plane.flannelRequests());
  const allowed = ["get nodes", "list nodes", "watch nodes", "patch nodes/status"];
  const events = ["create events", "patch events"];
  expect([...requests].filter((request) => ![...allowed, ...events].includes(request))).toEqual([]);
  expect(allowed.filter((request) => !requests.has(request))).toEqual([]);
});

test("a node joins, and its pods and the others reach each other", async () => {
  await cluster.boot(cluster.node(3));
  await expectSoon("n3 registers", async () => {
    const { exitCode } = await cluster.plane.tryKubectl(["get", "node", "n3"]);
    return exitCode === 0;
  });
  await whenInstalled(cluster);
  const [third] = await runPods(cluster, [{ name: "web3", node: 3, hostPort: 8003 }]);
  if (third === undefined) throw new Error("web3 does not run");
  const peer = await serveIn(third);
  for (const { name: server, addresses } of pods) {
    await expectAnswer(peer, { address: addresses[0] ?? "", port: containerPort, server });
  }
  const [address = ""] = third.addresses;
  for (const asker of peers) {
    await expectAnswer(asker, { address, port: containerPort, server: "web3" });
  }
});

test("a node is removed, and its routes go from the others", async () => {
  const third = cluster.node(3);
  const { spec } = (await cluster.plane.get("node", "n3")) as { spec: { podCIDR: string } };
  const routes = async () => {
    const { sandbox } = cluster.node(1);
    return (await sandbox.routes(4)).map(({ dst }) => dst);
  };
  expect(await routes()).toContain(spec.podCIDR);
  await third.cutPower();
  await cluster.plane.kubectl("delete", "node", "n3");
  await expectSoon("the route goes", async () => !(await routes()).includes(spec.podCIDR));
  const neighbours = await cluster
    .node(1)
    .sandbox.sh("ip neighbour show dev flannel.1; bridge fdb show dev flannel.1");
  expect(neighbours).not.toContain("10.77.0.13");
  // The rest goes on.
  const [, web2] = pods;
  const [peer] = peers;
  if (peer === undefined || web2 === undefined) throw new Error("there are no pods");
  const to = { address: web2.addresses[0] ?? "", port: containerPort, server: "web2" };
  await expectAnswer(peer, to);
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

/** A cluster with both families, whose kube-proxy and flanneld write nftables' rules. */
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  containerPort,
  expectAnswer,
  expectAnswerSoon,
  imageArchive,
  installFlannel,
  manifest,
  runPods,
  serveIn,
  type RunningPod,
} from "../helpers/kube.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";
import { startPeer, type Peer } from "../lab/traffic.ts";

let cluster: KubeCluster;
let pods: readonly RunningPod[];
let peers: readonly Peer[];
/** On the router: outside of the cluster. */
let client: Peer;

const netConf = `{
      "Network": "10.244.0.0/16",
      "EnableIPv6": true,
      "IPv6Network": "fd00:244::/48",
      "EnableNFTables": true,
      "Backend": { "Type": "vxlan" }
    }
`;

beforeAll(async () => {
  cluster = await createKubeCluster({
    nodes: 2,
    families: [4, 6],
    proxyMode: "nftables",
    images: [imageArchive()],
  });
});

afterAll(async () => {
  await cluster.close();
});

test("pods have an address of each family, and reach each other by both", async () => {
  const text = manifest().replace(
    /( {2}net-conf\.json: \|\n {4})\{[^]*?\n {4}\}\n/,
    `$1${netConf}`,
  );
  expect(text).toContain("fd00:244::/48");
  await installFlannel(cluster, text);
  pods = await runPods(cluster, [
    { name: "web1", node: 1, app: "web", hostPort: 8001 },
    { name: "web2", node: 2, app: "web", hostPort: 8002 },
  ]);
  peers = await Promise.all(pods.map(serveIn));
  client = await startPeer({ name: "client", start: cluster.fabric.router.start });
  for (const { addresses } of pods) {
    expect(addresses).toEqual([
      expect.stringMatching(/^10\.244\./),
      expect.stringMatching(/^fd00:244:/),
    ]);
  }
  for (const peer of peers) {
    for (const { name: server, addresses } of pods) {
      for (const address of addresses) {
        await expectAnswer(peer, { address, port: containerPort, server });
      }
    }
  }
});

test.for([
  ["10.77.0.11", "10.77.0.12"],
  ["fd77::11", "fd77::12"],
])("host ports answer at %j", async ([first = "", second = ""]) => {
  for (const asker of [...peers, client]) {
    await expectAnswer(asker, { address: first, port: 8001, server: "web1" });
    await expectAnswer(asker, { address: second, port: 8002, server: "web2" });
  }
});

test("kube-proxy's ClusterIPs and NodePort lead to the pods of a Service, in both families", async () => {
  await cluster.plane.apply(
    JSON.stringify({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web" },
      spec: {
        type: "NodePort",
        ipFamilyPolicy: "RequireDualStack",
        clusterIP: "10.96.7.7",
        clusterIPs: ["10.96.7.7", "fd00:96::77"],
        selector: { app: "web" },
        ports: [{ port: 8080, targetPort: containerPort, nodePort: 30_080 }],
      },
    }),
  );
  const server = /^web[12]$/;
  for (const address of ["10.96.7.7", "fd00:96::77"]) {
    for (const peer of peers) await expectAnswerSoon(peer, { address, port: 8080, server });
  }
  for (const address of ["10.77.0.11", "fd77::12"]) {
    await expectAnswerSoon(client, { address, port: 30_080, server });
  }
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

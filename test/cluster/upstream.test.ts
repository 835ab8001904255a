/** From upstream's flannel to this one in place, and back, while pods run and talk. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { goFlannel } from "../../scripts/kubernetes/programs.ts";
import { referenceDir } from "../helpers/executables.ts";
import {
  containerPort,
  expectAnswer,
  imageArchive,
  installFlannel,
  manifest,
  openConnection,
  runPods,
  serveIn,
  type Connection,
  type RunningPod,
} from "../helpers/kube.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";
import { writeImage } from "../lab/image.ts";
import type { Peer } from "../lab/traffic.ts";

const IMAGE = "localhost/go-flannel:1";

let cluster: KubeCluster;
let pods: readonly RunningPod[];
let peers: readonly Peer[];
let connection: Connection;

beforeAll(async () => {
  cluster = await createKubeCluster({ nodes: 2, images: [imageArchive()] });
  for (const number of [1, 2]) {
    const node = cluster.node(number);
    // As Debian's and Kubernetes' packages put them there.
    await node.sandbox.sh(
      `mkdir -p /opt/cni/bin
       for name in bridge host-local loopback portmap; do
         cp ${join(referenceDir(), "$name")} /opt/cni/bin/
       done`,
    );
    // Its iptables, and all that this needs, are the machine's.
    const folder = "/run/go-flannel";
    await node.sandbox.sh(`
      mkdir -p ${folder}/root/opt/bin ${folder}/root/usr ${folder}/root/etc
      cp ${join(goFlannel.folder, "flanneld")} ${folder}/root/opt/bin/flanneld
      for name in bin sbin lib lib64; do ln -s usr/$name ${folder}/root/$name; done
    `);
    const options = { tag: IMAGE, folder, entrypoint: ["/opt/bin/flanneld"] };
    await node.importImage(await writeImage(node.sandbox, options));
  }
});

afterAll(async () => {
  await cluster.close();
});

/** The kinds of objects that upstream's manifest has too. */
const SHARED_KINDS = new Set([
  ...["Namespace", "ServiceAccount", "ClusterRoleBinding", "ConfigMap"],
]);

type ManifestObject = Record<string, unknown> & { readonly kind: string };

/** Upstream's objects: those of ours but for what only ours has, and upstream's DaemonSet. */
function upstreamManifest(): string {
  const ours = parseAllDocuments(manifest()).map((document) => document.toJS() as ManifestObject);
  const shared = ours.filter(({ kind }) => SHARED_KINDS.has(kind));
  const items = [...shared, upstreamRole, upstreamDaemonSet()];
  return JSON.stringify({ apiVersion: "v1", kind: "List", items });
}

/** The Go program asks for its pod to know its node. */
const upstreamRole = {
  apiVersion: "rbac.authorization.k8s.io/v1",
  kind: "ClusterRole",
  metadata: { name: "flannel", labels: { "k8s-app": "flannel" } },
  rules: [
    { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
    { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
    { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
  ],
};

const fieldRef = (fieldPath: string) => ({ valueFrom: { fieldRef: { fieldPath } } });

function upstreamDaemonSet(): object {
  const folders: Readonly<Record<string, string>> = {
    run: "/run/flannel",
    "cni-plugin": "/opt/cni/bin",
    cni: "/etc/cni/net.d",
    "xtables-lock": "/run/xtables.lock",
    // Not upstream's: see the image.
    usr: "/usr",
    alternatives: "/etc/alternatives",
  };
  const volumes = Object.entries(folders).map(([name, path]) => ({
    name,
    hostPath: { path, type: name === "xtables-lock" ? "FileOrCreate" : "DirectoryOrCreate" },
  }));
  const mounts = (...names: readonly string[]) =>
    names.map((name) => ({ name, mountPath: folders[name] ?? "/etc/kube-flannel/" }));
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: {
      name: "kube-flannel-ds",
      namespace: "kube-flannel",
      labels: { app: "flannel", "k8s-app": "flannel", tier: "node" },
    },
    spec: {
      selector: { matchLabels: { app: "flannel" } },
      template: {
        metadata: { labels: { app: "flannel", "k8s-app": "flannel", tier: "node" } },
        spec: {
          hostNetwork: true,
          priorityClassName: "system-node-critical",
          serviceAccountName: "flannel",
          tolerations: [{ effect: "NoSchedule", operator: "Exists" }],
          initContainers: [
            {
              name: "install-cni-plugin",
              // Upstream's has the plugin in Go, which is not to be had here.
              image: "flannel-cni:0.1.0",
              command: ["/bin/cp"],
              args: ["-f", "/flannel", "/opt/cni/bin/flannel"],
              volumeMounts: mounts("cni-plugin"),
            },
            {
              name: "install-cni",
              image: IMAGE,
              command: ["cp"],
              args: ["-f", "/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-flannel.conflist"],
              volumeMounts: mounts("cni", "flannel-cfg", "usr"),
            },
          ],
          containers: [
            {
              name: "kube-flannel",
              image: IMAGE,
              command: ["/opt/bin/flanneld"],
              args: ["--ip-masq", "--kube-subnet-mgr"],
              resources: { requests: { cpu: "100m", memory: "50Mi" } },
              securityContext: {
                privileged: false,
                capabilities: { add: ["NET_ADMIN", "NET_RAW"] },
              },
              env: [
                { name: "POD_NAME", ...fieldRef("metadata.name") },
                { name: "POD_NAMESPACE", ...fieldRef("metadata.namespace") },
                { name: "EVENT_QUEUE_DEPTH", value: "5000" },
              ],
              volumeMounts: mounts("run", "flannel-cfg", "xtables-lock", "usr", "alternatives"),
            },
          ],
          volumes: [...volumes, { name: "flannel-cfg", configMap: { name: "kube-flannel-cfg" } }],
        },
      },
    },
  };
}

/** Expects that the first pods have the addresses and the connection they had, and that all is reached. */
async function expectAsBefore(): Promise<void> {
  for (const { name, addresses } of pods) {
    const jsonPath = "jsonpath={.status.podIP} {.status.containerStatuses[0].restartCount}";
    const now = await cluster.plane.kubectl("get", "pod", name, "-o", jsonPath);
    expect(now).toBe(`${addresses[0]} 0`);
  }
  expect(await connection.echo("as before")).toBe("as before");
  for (const peer of peers) {
    for (const [at, { name: server, addresses }] of pods.entries()) {
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
    for (const { namespace } of pods) {
      expect(await namespace.ping(addresses[0] ?? ""), addresses[0]).toBe(true);
    }
  }
}

test("upstream's flanneld runs", async () => {
  expect(existsSync(join(goFlannel.folder, "flanneld"))).toBe(true);
  await installFlannel(cluster, upstreamManifest());
  pods = await runPods(cluster, [
    { name: "left", node: 1, hostPort: 8001 },
    { name: "right", node: 2, hostPort: 8002 },
  ]);
  peers = await Promise.all(pods.map(serveIn));
  const [left, right] = pods;
  if (left === undefined || right === undefined) throw new Error("the pods do not run");
  connection = await openConnection(left, right);
  await expectAsBefore();
});

test("this one in its place: pods keep their addresses and connections", async () => {
  await installFlannel(cluster);
  await expectAsBefore();
  await expectNewPods("ours");
});

test("and back", async () => {
  await installFlannel(cluster, upstreamManifest());
  await expectAsBefore();
  await expectNewPods("theirs");
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

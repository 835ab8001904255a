/** What tests do in a cluster: flannel is installed, pods run, and traffic flows between them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "vitest";
import type { KubeCluster } from "../lab/cluster/cluster.ts";
import type { KubeNode } from "../lab/cluster/node.ts";
import type { Namespace } from "../lab/namespace.ts";
import { startPeer, type Peer } from "../lab/traffic.ts";
import { PAUSE_IMAGE } from "../lab/pause_image.ts";

/** The archive that `make image` has written. */
export function imageArchive(folder = "dist/image"): string {
  const name = readdirSync(folder).find((file) => file.endsWith(".tar"));
  if (name === undefined) throw new Error(`There is no image in ${folder}: run \`make image\`.`);
  return join(folder, name);
}

/** The manifest as it is installed. */
export function manifest(): string {
  return readFileSync("deploy/kube-flannel.yml", "utf8");
}

export interface PodOptions {
  readonly name: string;
  /** The number of its node. */
  readonly node: number;
  readonly hostPort?: number;
  /** Of a Service that it is behind. */
  readonly app?: string;
}

export interface RunningPod {
  readonly name: string;
  readonly node: KubeNode;
  readonly namespace: Namespace;
  readonly addresses: readonly string[];
}

interface PodObject {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeName: string };
  readonly status: { readonly podIPs?: readonly { readonly ip: string }[] };
}

export const containerPort = 80;

function podObject({ name, node, hostPort, app }: PodOptions): object {
  const ports = hostPort === undefined ? [] : [{ containerPort, hostPort }];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { "lab/test": "yes", ...(app === undefined ? {} : { app }) } },
    spec: {
      nodeSelector: { "kubernetes.io/hostname": `n${node}` },
      terminationGracePeriodSeconds: 0,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      containers: [{ name: "pause", image: PAUSE_IMAGE, ports }],
    },
  };
}

/** As one object for `kubectl apply`. */
function listOf(items: readonly object[]): string {
  return JSON.stringify({ apiVersion: "v1", kind: "List", items });
}

/** Creates pods, and does not wait for them. */
export async function createPods(
  { plane }: KubeCluster,
  pods: readonly PodOptions[],
): Promise<void> {
  await plane.apply(listOf(pods.map(podObject)));
}

/** Creates pods, and returns them when all are ready. */
export async function runPods(
  cluster: KubeCluster,
  pods: readonly PodOptions[],
): Promise<readonly RunningPod[]> {
  await createPods(cluster, pods);
  return whenReady(
    cluster,
    pods.map(({ name }) => name),
  );
}

/** Waits until pods are ready, and returns them in that order. */
export async function whenReady(
  cluster: KubeCluster,
  names: readonly string[],
): Promise<readonly RunningPod[]> {
  const { plane } = cluster;
  const paths = names.map((name) => `pod/${name}`);
  const { exitCode, stderr } = await plane.tryKubectl(
    ["wait", "--for=condition=Ready", "--timeout=90s", ...paths],
    { timeout: 100_000 },
  );
  if (exitCode !== 0) {
    const events = await plane.kubectl("get", "events", "--sort-by=.lastTimestamp");
    throw new Error(`Pods are not ready: ${stderr}\n${events.split("\n").slice(-20).join("\n")}`);
  }
  const { items } = (await plane.get("pods", "-l", "lab/test")) as { items: readonly PodObject[] };
  const objects = new Map(items.map((item) => [item.metadata.name, item]));
  return Promise.all(
    names.map(async (name) => {
      const { spec, status } = objects.get(name) ?? {};
      const node = cluster.node(Number(spec?.nodeName.slice(1)));
      const addresses = (status?.podIPs ?? []).map(({ ip }) => ip);
      return { name, node, namespace: await node.podNamespace(name), addresses };
    }),
  );
}

/** Deletes pods and waits until they are gone. */
export async function deletePods({ plane }: KubeCluster, names: readonly string[]): Promise<void> {
  await plane.kubectl("delete", "pod", "--timeout=50s", ...names);
}

/** A server for TCP in a pod, which answers with the pod's name and the client's address. */
export async function serveIn({ name, namespace }: RunningPod): Promise<Peer> {
  return startPeer(namespace, [{ protocol: "tcp", port: containerPort }], name);
}

/** Applies a manifest and waits until all nodes are ready and flanneld runs on each. */
export async function installFlannel(cluster: KubeCluster, text = manifest()): Promise<void> {
  await cluster.plane.apply(text);
  await whenInstalled(cluster);
}

export async function whenInstalled({ plane }: KubeCluster): Promise<void> {
  const rollout = ["rollout", "status", "-n", "kube-flannel", "ds/kube-flannel-ds"];
  const limit = { timeout: 130_000 };
  const rolled = await plane.tryKubectl([...rollout, "--timeout=120s"], limit);
  const ready = await plane.tryKubectl(
    ["wait", "--for=condition=Ready", "node", "--all", "--timeout=90s"],
    limit,
  );
  if (rolled.exitCode + ready.exitCode > 0) {
    const what = await plane.kubectl("describe", "pods", "-n", "kube-flannel");
    const log = await plane.tryKubectl(["logs", "-n", "kube-flannel", "ds/kube-flannel-ds"]);
    const nodes = await plane.kubectl("get", "nodes", "-o", "wide");
    throw new Error(
      `flannel is not installed:\n${rolled.stderr}\n${what}\n${log.stdout}${log.stderr}\n${nodes}`,
    );
  }
}

/** Waits until something holds, for at most so many milliseconds; then the test fails with `what`. */
export async function expectSoon(
  what: string,
  check: () => Promise<boolean>,
  limit = 60_000,
): Promise<void> {
  const end = performance.now() + limit;
  let holds = await check();
  while (!holds && performance.now() < end) {
    await delay(200);
    holds = await check();
  }
  expect(holds, what).toBe(true);
}

/** Expects the server's answer at an address, from a namespace. */
export async function expectAnswer(
  peer: Peer,
  { address, port, server }: { address: string; port: number; server: string | RegExp },
): Promise<void> {
  const outcome = await peer.ask({ protocol: "tcp", address, port, ownPort: 0 });
  expect(outcome, `${peer.name} to ${address}:${port}`).toMatchObject({ kind: "answered" });
  expect(outcome.server).toMatch(server);
}

/** Waits for an answer at an address: what a controller has to do first takes its time. */
export async function expectAnswerSoon(
  peer: Peer,
  to: { address: string; port: number; server: string | RegExp },
): Promise<void> {
  const { address, port } = to;
  await expectSoon(`${address}:${port} answers ${peer.name}`, async () => {
    const { kind } = await peer.ask({ protocol: "tcp", address, port, ownPort: 0 });
    return kind === "answered";
  });
  await expectAnswer(peer, to);
}

/** A TCP connection that stays open. */
export interface Connection {
  /** Sends a line, and returns what comes back: the same, as long as the connection is. */
  readonly echo: (line: string) => Promise<string>;
  readonly close: () => Promise<void>;
}

/** Connects from a pod to another one's port 7. */
export async function openConnection(from: RunningPod, to: RunningPod): Promise<Connection> {
  const listen = `socat TCP6-LISTEN:7,ipv6only=0,reuseaddr EXEC:cat & echo ready; read line; kill $!`;
  const server = await to.namespace.start("bash", ["-c", listen]);
  const [address = ""] = to.addresses;
  const talk = `
    until exec 3<>/dev/tcp/${address}/7; do sleep 0.1; done 2> /dev/null
    echo ready
    while read -r line; do
      echo "$line" >&3
      read -t 20 -r answer <&3 || answer=
      echo "$answer"
    done`;
  const client = await from.namespace.start("bash", ["-c", talk]);
  return {
    echo: async (line) => client.ask(line),
    async close() {
      await client.stop();
      await server.stop();
    },
  };
}

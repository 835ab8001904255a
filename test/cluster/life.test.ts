/** The life of nodes: pods before flanneld, restarts, upgrades, outages, a reboot. */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { lostDuring } from "../helpers/overlay_cluster.ts";
import {
  containerPort,
  createPods,
  deletePods,
  expectAnswer,
  expectSoon,
  imageArchive,
  installFlannel,
  openConnection,
  runPods,
  serveIn,
  whenInstalled,
  whenReady,
  type RunningPod,
} from "../helpers/kube.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";
import type { KubeNode } from "../lab/cluster/node.ts";
import { startPeer } from "../lab/traffic.ts";

let cluster: KubeCluster;
let left: RunningPod;
let right: RunningPod;

beforeAll(async () => {
  cluster = await createKubeCluster({ nodes: 2, images: [imageArchive()] });
});

afterAll(async () => {
  await cluster.close();
});

/** Pings from one node's pod to the other's every ten milliseconds. @returns how many were lost. */
async function lost(happens: () => Promise<void>): Promise<number> {
  const from = { pod: left.namespace, sandbox: left.node.sandbox };
  return lostDuring(from, right.addresses[0] ?? "", happens);
}

/** The events of a pod, a line each. */
async function eventsOf(pod: string): Promise<string> {
  return cluster.plane.kubectl(
    ...["get", "events", "--field-selector", `involvedObject.name=${pod}`, "-o"],
    'jsonpath={range .items[*]}{.reason}: {.message}{"\\n"}{end}',
  );
}

/** The addresses that pods of a node have reserved. */
async function reservedOn({ sandbox }: KubeNode): Promise<readonly string[]> {
  const files = await sandbox.list("/var/lib/cni/networks/cbr0");
  return files.filter((name) => name.startsWith("10."));
}

/** Restarts of all containers of flannel's pods. */
async function restarts(): Promise<string> {
  return cluster.plane.kubectl(
    ...["get", "pods", "-n", "kube-flannel", "-o"],
    "jsonpath={.items[*].status.containerStatuses[*].restartCount}",
  );
}

test("a pod before flanneld's subnet.env waits, its event says why, and it starts by itself", async () => {
  for (const number of [1, 2]) {
    const { sandbox } = cluster.node(number);
    await sandbox.output(`${process.env["CNI_BIN"] ?? "dist/bin"}/install-cni`);
  }
  await cluster.plane.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s");
  await createPods(cluster, [
    { name: "left", node: 1, hostPort: 8001 },
    { name: "right", node: 2, hostPort: 8002 },
  ]);
  await expectSoon("an event says why", async () =>
    (await eventsOf("left")).includes("subnet.env"),
  );
  // The runtime adds "; " and the details to the message.
  expect(await eventsOf("left")).not.toMatch(/\.; /);
  await installFlannel(cluster);
  const [first, second] = await whenReady(cluster, ["left", "right"]);
  if (first === undefined || second === undefined) throw new Error("the pods do not run");
  left = first;
  right = second;
  expect(await left.namespace.ping(right.addresses[0] ?? "")).toBe(true);
});

test.for(["TERM", "KILL"] as const)("containerd and kubelet restart by SIG%s", async (signal) => {
  const node = cluster.node(2);
  await runPods(cluster, [{ name: "gone", node: 2 }]);
  const none = await lost(async () => {
    await node.stop("containerd", signal);
    await node.stop("kubelet", signal);
    await cluster.plane.kubectl("delete", "pod", "gone", "--wait=false");
    await node.start("containerd");
    await node.start("kubelet");
    await expectSoon("the deleted pod goes, with its address", async () => {
      const addresses = await reservedOn(node);
      return addresses.length === 1 && addresses[0] === right.addresses[0];
    });
  });
  expect(none).toBe(0);
  const [again] = await runPods(cluster, [{ name: "again", node: 2 }]);
  expect(await left.namespace.ping(again?.addresses[0] ?? "")).toBe(true);
  await deletePods(cluster, ["again"]);
});

test("flanneld is upgraded under traffic: nothing is lost, and connections stay", async () => {
  const connection = await openConnection(left, right);
  const none = await lost(async () => {
    const { kubectl } = cluster.plane;
    await kubectl("rollout", "restart", "-n", "kube-flannel", "ds/kube-flannel-ds");
    await whenInstalled(cluster);
  });
  expect(none).toBe(0);
  expect(await connection.echo("still there")).toBe("still there");
  await connection.close();
  expect(await restarts()).toMatch(/^[0 ]+$/);
});

test("the DaemonSet is deleted: traffic goes on; installed again, all is as before", async () => {
  const { kubectl } = cluster.plane;
  const none = await lost(async () => {
    await kubectl("delete", "-n", "kube-flannel", "ds/kube-flannel-ds", "--timeout=50s");
    await expectSoon("flanneld ends", async () => {
      const { exitCode } = await cluster
        .node(1)
        .sandbox.exec("pgrep", ["-f", "flanneld --ip-masq"]);
      return exitCode !== 0;
    });
    // Without flanneld, and with its subnet.env: a pod can start.
    await runPods(cluster, [{ name: "orphan", node: 2 }]);
    await installFlannel(cluster);
  });
  expect(none).toBe(0);
  await deletePods(cluster, ["orphan"]);
});

test("the control plane is away for a minute: traffic goes on, and then flanneld does", async () => {
  const before = await restarts();
  const none = await lost(async () => {
    await cluster.plane.stop();
    await delay(60_000);
    await cluster.plane.start();
  });
  expect(none).toBe(0);
  await whenInstalled(cluster);
  expect(await restarts()).toBe(before);
  const [late] = await runPods(cluster, [{ name: "late", node: 2 }]);
  expect(await left.namespace.ping(late?.addresses[0] ?? "")).toBe(true);
  await deletePods(cluster, ["late"]);
});

test("flanneld hangs: its probe has it replaced, and traffic goes on", async () => {
  const { kubectl } = cluster.plane;
  // Sooner than by the manifest, where it takes a minute and a half.
  const probe = { periodSeconds: 1, initialDelaySeconds: 1, failureThreshold: 5 };
  const change = {
    terminationGracePeriodSeconds: 1,
    containers: [{ name: "kube-flannel", livenessProbe: probe }],
  };
  const patch = JSON.stringify({ spec: { template: { spec: change } } });
  await kubectl("patch", "-n", "kube-flannel", "ds/kube-flannel-ds", "-p", patch);
  await whenInstalled(cluster);
  const before = await restarts();
  const none = await lost(async () => {
    await cluster.node(1).sandbox.output("pkill", ["-STOP", "-f", "flanneld --ip-masq"]);
    await expectSoon("its container is replaced", async () => (await restarts()) !== before);
    await whenInstalled(cluster);
  });
  expect(none).toBe(0);
});

test("a node loses its power and boots: its pods come back and are reached", async () => {
  const node = cluster.node(2);
  const bootId = async () => node.sandbox.readFile("/proc/sys/kernel/random/boot_id");
  const before = await bootId();
  await node.cutPower();
  await cluster.boot(node);
  const { sandbox } = node;
  expect(await bootId()).not.toBe(before);
  // A file system in memory has gone, and the disk has stayed.
  expect(await sandbox.exists("/run/flannel/subnet.env")).toBe(false);
  expect(await reservedOn(node)).toEqual(right.addresses);
  await expectSoon("the pod has a network again", async () => {
    const addresses = await reservedOn(node);
    const { stdout } = await cluster.plane.tryKubectl([
      ...["get", "pod", "right", "-o", "jsonpath={.status.podIP}"],
    ]);
    return addresses.includes(stdout) && (await sandbox.exists("/run/flannel/subnet.env"));
  });
  await whenInstalled(cluster);
  const [back] = await whenReady(cluster, ["right"]);
  if (back === undefined) throw new Error("the pod does not run");
  await serveIn(back);
  const peer = await startPeer(left.namespace);
  const [address = ""] = back.addresses;
  await expectAnswer(peer, { address, port: containerPort, server: "right" });
  await expectAnswer(peer, { address: "10.77.0.12", port: 8002, server: "right" });
  await expectSoon("its old address is given back", async () => {
    const addresses = await reservedOn(node);
    return addresses.length === 1 && addresses[0] === address;
  });
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

/** deploy/chart by helm: installed, changed, taken back and removed, and in the place of flannel's own chart. */
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { helm } from "../../scripts/kubernetes/programs.ts";
import {
  expectUnchanged,
  startConnectedPods,
  type ConnectedPods,
} from "../helpers/connected_pods.ts";
import {
  deletePods,
  expectAnswer,
  expectSoon,
  imageArchive,
  runPods,
  whenInstalled,
} from "../helpers/kube.ts";
import {
  prepareForReturn,
  prepareForUpstream,
  upstreamChart,
} from "../helpers/upstream_flannel.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";

const chart = resolve("deploy/chart");

let cluster: KubeCluster;
let connected: ConnectedPods;

beforeAll(async () => {
  cluster = await createKubeCluster({ nodes: 2, images: [imageArchive()] });
});

afterAll(async () => {
  await cluster.close();
});

async function runHelm(...args: readonly string[]): Promise<string> {
  const env = { KUBECONFIG: "/run/kube/admin.kubeconfig", HOME: "/run/kube" };
  const all = [...args, "--namespace", "kube-flannel"];
  return cluster.fabric.router.output(join(helm.folder, "helm"), all, { env });
}

/** Expects that the pods and their connection are as they were, and that a new one runs. */
async function expectAsBefore(): Promise<void> {
  await expectUnchanged(cluster, connected);
  for (const peer of connected.peers) {
    await expectAnswer(peer, { address: "10.77.0.11", port: 8001, server: "left" });
    await expectAnswer(peer, { address: "10.77.0.12", port: 8002, server: "right" });
  }
  const [added] = await runPods(cluster, [{ name: "added", node: 2 }]);
  for (const { namespace } of connected.pods) {
    expect(await namespace.ping(added?.addresses[0] ?? "")).toBe(true);
  }
  await deletePods(cluster, ["added"]);
}

/** Names of what the release has put into its namespace. */
async function objects(): Promise<readonly string[]> {
  const names = await cluster.plane.kubectl(
    ...["get", "daemonset,configmap,serviceaccount", "-n", "kube-flannel", "-o", "name"],
  );
  return names.split("\n").filter((name) => name.includes("flannel"));
}

test("install.md's three commands: nodes become ready, and pods run", async () => {
  const { kubectl } = cluster.plane;
  await kubectl("create", "namespace", "kube-flannel");
  const label = "pod-security.kubernetes.io/enforce=privileged";
  await kubectl("label", "namespace", "kube-flannel", label);
  await runHelm("install", "flannel", chart, "--set", "podCidr=10.244.0.0/16");
  await whenInstalled(cluster);
  connected = await startConnectedPods(cluster);
  await expectAsBefore();
});

test("an upgrade adds the agent, which makes the calls of new pods", async () => {
  await runHelm("upgrade", "flannel", chart, "--set", "agent.enabled=true");
  await cluster.plane.kubectl(
    ...["rollout", "status", "-n", "kube-flannel", "ds/kube-flannel-agent", "--timeout=50s"],
  );
  await whenInstalled(cluster);
  await expectAsBefore();
  const { sandbox } = cluster.node(2);
  const doctor = await sandbox.exec("/opt/cni/bin/flannel", ["cnitool", "doctor"]);
  expect(doctor).toMatchObject({ exitCode: 0, stderr: "" });
  const pod = await cluster.plane.kubectl(
    ...["get", "pods", "-n", "kube-flannel", "-l", "app=flannel-agent", "-o", "name"],
    ...["--field-selector", "spec.nodeName=n2"],
  );
  // It says at its end how many calls it has made.
  const log = cluster.plane.kubectl("logs", "-f", "-n", "kube-flannel", pod.trim());
  await cluster.plane.kubectl("delete", "-n", "kube-flannel", pod.trim(), "--timeout=50s");
  expect(await log).toMatch(/has made [1-9]\d* calls/);
  expect(await log).not.toContain("PATH");
});

test("a rollback takes it away again", async () => {
  await runHelm("rollback", "flannel", "1");
  await expectSoon("the agent is gone", async () => {
    const names = await objects();
    return !names.includes("daemonset.apps/kube-flannel-agent");
  });
  await whenInstalled(cluster);
  await expectAsBefore();
});

test("uninstalled, nothing of it is left in the API, and pods go on", async () => {
  await runHelm("uninstall", "flannel", "--wait");
  expect(await objects()).toEqual([]);
  const { stdout } = await cluster.plane.tryKubectl([
    ...["get", "clusterrole,clusterrolebinding,role,rolebinding", "-n", "default", "-o", "name"],
  ]);
  expect(stdout).not.toContain("flannel");
  expect(await connected.connection.echo("without flanneld")).toBe("without flanneld");
});

test("flannel's own chart is upgraded to this one, and rolled back", async () => {
  for (const number of [1, 2]) await prepareForUpstream(cluster.node(number));
  const values = upstreamChart.values.flatMap((value) => ["--set", value]);
  await runHelm("install", "flannel", upstreamChart.folder, ...values);
  await whenInstalled(cluster);
  await expectAsBefore();
  await runHelm("upgrade", "flannel", chart, "--reset-values");
  await whenInstalled(cluster);
  await expectAsBefore();
  for (const number of [1, 2]) await prepareForReturn(cluster.node(number));
  await runHelm("rollback", "flannel", "1");
  await whenInstalled(cluster);
  await expectAsBefore();
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

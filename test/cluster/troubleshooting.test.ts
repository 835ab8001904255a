/** What docs/troubleshooting.md says that one sees, and what it says to do, each tried in a cluster. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  containerPort,
  deletePods,
  expectAnswer,
  expectSoon,
  imageArchive,
  installFlannel,
  manifest,
  runPods,
  serveIn,
  whenInstalled,
  type RunningPod,
} from "../helpers/kube.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";
import { startPeer, type Peer } from "../lab/traffic.ts";

let cluster: KubeCluster;
let pods: readonly RunningPod[];
/** On the router: outside of the cluster. */
let client: Peer;

const page = readFileSync("docs/troubleshooting.md", "utf8");

beforeAll(async () => {
  cluster = await createKubeCluster({ nodes: 2, images: [imageArchive()] });
  client = await startPeer({ name: "client", start: cluster.fabric.router.start });
});

afterAll(async () => {
  await cluster.close();
});

/** Expects that the page has that, and that it is to be seen soon. */
async function expectSeen(text: string, look: () => Promise<string>): Promise<void> {
  expect(page).toContain(text);
  await expectSoon(text, async () => (await look()).includes(text));
}

async function describeNode(): Promise<string> {
  return cluster.plane.kubectl("describe", "node", "n1");
}

/** flanneld's pod on the first node. */
async function daemonPod(): Promise<string> {
  const name = await cluster.plane.kubectl(
    ...["get", "pods", "-n", "kube-flannel", "-l", "app=flannel", "-o", "name"],
    ...["--field-selector", "spec.nodeName=n1,status.phase=Running"],
  );
  return name.trim();
}

async function logs(): Promise<string> {
  const pod = await daemonPod();
  const args = ["logs", "-n", "kube-flannel", pod, "-c", "kube-flannel"];
  return (await cluster.plane.tryKubectl(args)).stdout;
}

/** Runs a command in flanneld's container on the first node. */
async function inContainer(...command: readonly string[]) {
  const pod = await daemonPod();
  return cluster.plane.tryKubectl([
    ...["exec", "-n", "kube-flannel", pod, "-c", "kube-flannel", "--", ...command],
  ]);
}

/** The output of doctor on the first node, which is the same in flanneld's container. */
async function doctorFinds(id: string): Promise<string> {
  expect(page).toContain(`\`${id}\``);
  const onNode = await cluster.node(1).sandbox.exec("/opt/cni/bin/flannel", ["cnitool", "doctor"]);
  const inside = await inContainer("cnitool", "doctor");
  expect(onNode.stdout).toContain(id);
  expect({ text: inside.stdout, exitCode: inside.exitCode }).toEqual({
    text: onNode.stdout,
    exitCode: onNode.exitCode,
  });
  return onNode.stdout;
}

async function expectHealthy(): Promise<void> {
  for (const doctor of [
    await cluster.node(1).sandbox.exec("/opt/cni/bin/flannel", ["cnitool", "doctor"]),
    await inContainer("cnitool", "doctor"),
  ]) {
    expect(doctor.exitCode, doctor.stdout).toBe(0);
  }
}

/** flanneld's pod on the first node ends; a new one starts, and may wait. */
async function restart(): Promise<void> {
  await cluster.plane.kubectl("delete", "-n", "kube-flannel", await daemonPod(), "--timeout=50s");
  await expectSoon("a new pod", async () => (await daemonPod()) !== "");
}

/** How often the container of flanneld on the first node has ended. */
async function restarts(): Promise<string> {
  const path = "jsonpath={.status.containerStatuses[0].restartCount}";
  return cluster.plane.kubectl("get", "-n", "kube-flannel", await daemonPod(), "-o", path);
}

test("before flannel is installed: no plugin is initialized", async () => {
  await expectSeen("cni plugin not initialized", describeNode);
});

test("the network of another cluster: an event says so, and a restart takes the right one", async () => {
  const wrong = manifest().replace('"Network": "10.244.0.0/16"', '"Network": "10.1.0.0/16"');
  await cluster.plane.apply(wrong);
  await expectSoon("the event", async () =>
    /FlannelWaiting.*podCIDR 10\.244\.\d+\.0\/24 is outside of the network 10\.1\.0\.0\/16/.test(
      await describeNode(),
    ),
  );
  const status = await inContainer("flanneld", "status");
  expect(status.stdout).toContain("outside of the network");
  expect(await restarts()).toBe("0");
  await cluster.plane.apply(manifest());
  const command = "-n kube-flannel rollout restart daemonset/kube-flannel-ds";
  expect(page).toContain(`\`kubectl ${command}\``);
  await cluster.plane.kubectl(...command.split(" "));
  await whenInstalled(cluster);
  await expectHealthy();
});

test("pods run, and there is nothing to find", async () => {
  pods = await runPods(cluster, [
    { name: "left", node: 1, hostPort: 8001 },
    { name: "right", node: 2 },
  ]);
  await Promise.all(pods.map(serveIn));
  await expectHealthy();
});

test("without the rights: the answer is in the log, and the manifest mends it", async () => {
  await cluster.plane.kubectl("delete", "clusterrolebinding", "flannel");
  await restart();
  await expectSeen("Cannot read the node n1: the API answered 403", logs);
  await installFlannel(cluster);
  expect(await restarts()).toBe("0");
});

test("the API server cannot be reached from the node", async () => {
  const { sandbox } = cluster.node(1);
  const rule = "OUTPUT -d 10.96.0.1 -p tcp -j DROP";
  await sandbox.sh(`iptables -t raw -I ${rule}`);
  await restart();
  await expectSeen("Cannot read the node n1: ", logs);
  expect(await logs()).not.toContain("the API answered");
  expect(await cluster.plane.kubectl("get", "--raw", "/readyz")).toBe("ok");
  const asked = ["curl", "-sk", "--max-time", "5", "https://10.96.0.1/readyz"] as const;
  const [file, ...args] = asked;
  expect((await sandbox.exec(file, args)).exitCode).not.toBe(0);
  await sandbox.sh(`iptables -t raw -D ${rule}`);
  expect((await sandbox.exec(file, args)).exitCode).toBe(0);
  await whenInstalled(cluster);
  expect(await restarts()).toBe("0");
});

test("another program has the port of the probes", async () => {
  const { sandbox } = cluster.node(1);
  await cluster.plane.kubectl(
    ...["patch", "ds", "kube-flannel-ds", "-n", "kube-flannel", "-p"],
    JSON.stringify({ spec: { template: { spec: { nodeSelector: { absent: "yes" } } } } }),
  );
  await expectSoon("flanneld ends", async () => (await daemonPod()) === "");
  const listen = "socat TCP-LISTEN:8081,fork,reuseaddr EXEC:echo & echo ready; read line; kill $!";
  const squatter = await sandbox.start("bash", ["-c", listen]);
  await cluster.plane.kubectl(
    ...["patch", "ds", "kube-flannel-ds", "-n", "kube-flannel", "-p"],
    JSON.stringify({ spec: { template: { spec: { nodeSelector: null } } } }),
  );
  await expectSoon("a new pod", async () => (await daemonPod()) !== "");
  await expectSeen("Cannot answer at 0.0.0.0, port 8081", logs);
  await squatter.stop();
  await whenInstalled(cluster);
});

test("the port between nodes is blocked", async () => {
  const { sandbox } = cluster.node(2);
  const rule = "INPUT -p udp --dport 8472 -j DROP";
  await sandbox.sh(`iptables -I ${rule}`);
  expect(await doctorFinds("overlay-blocked")).toContain("UDP port 8472 may be blocked");
  await sandbox.sh(`iptables -D ${rule}`);
  await expectHealthy();
});

test("the path between nodes has no room for large packets", async () => {
  const { router } = cluster.fabric;
  await router.sh("ip link set n2 mtu 1400");
  expect(await doctorFinds("overlay-path-mtu")).toContain("MTU");
  await router.sh("ip link set n2 mtu 1500");
});

test("flannel.1 is deleted: it is back at once, and the log says so", async () => {
  await cluster.node(1).sandbox.sh("ip link delete flannel.1");
  const [left, right] = pods;
  await expectSoon(
    "the pods reach each other",
    async () => (await left?.namespace.ping(right?.addresses[0] ?? "")) === true,
  );
  expect(await logs()).toMatch(/flannel\.1/);
});

test("host ports are flushed: doctor's own command puts them back", async () => {
  const { sandbox } = cluster.node(1);
  await sandbox.sh("iptables -t nat -F");
  const onNode = await sandbox.exec("/opt/cni/bin/flannel", ["cnitool", "doctor"]);
  expect(onNode.exitCode).toBe(2);
  const [command = ""] = /\/opt\/cni\/bin\/flannel cnitool repair/.exec(onNode.stdout) ?? [];
  expect(page).toContain(command);
  await sandbox.sh(command);
  await expectAnswer(client, { address: "10.77.0.11", port: 8001, server: "left" });
});

test("another config comes first, and an address of another subnet", async () => {
  const { sandbox } = cluster.node(1);
  const conflist = { cniVersion: "1.0.0", name: "other", plugins: [{ type: "loopback" }] };
  await sandbox.writeFile("/etc/cni/net.d/00-other.conflist", JSON.stringify(conflist));
  await doctorFinds("other-config-wins");
  await sandbox.remove("/etc/cni/net.d/00-other.conflist");
  await sandbox.sh("ip address add 10.9.9.1/24 dev cni0");
  await doctorFinds("foreign-address");
  await sandbox.sh("ip address delete 10.9.9.1/24 dev cni0");
  const [left, right] = pods;
  const peer = await startPeer(right?.namespace ?? expect.fail());
  const address = left?.addresses[0] ?? "";
  await expectAnswer(peer, { address, port: containerPort, server: "left" });
});

test("a node whose pods have all gone has nothing to warn of", async () => {
  await deletePods(cluster, ["left", "right"]);
  await expectHealthy();
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

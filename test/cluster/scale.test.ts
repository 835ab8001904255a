/**
 * 5,000 nodes, simulated: objects in a real API server, twenty of which change each second, and one
 * flanneld that follows them within 80 MiB; beside it the Go program, without a limit. docs/scale.md has
 * the figures that this prints.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { goFlannel } from "../../scripts/kubernetes/programs.ts";
import { binDir } from "../helpers/executables.ts";
import { startOtherFlanneld, until, type Daemon } from "../helpers/flanneld.ts";
import { expectSoon, manifest } from "../helpers/kube.ts";
import { limitMemory, memoryController } from "../lab/cgroups.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";
import type { Service } from "../lab/process.ts";

const COUNT = 5000;
const PART = 500;
const RATE = 20;
const SECONDS = 30;
const LIMIT_MIB = 80;

const controller = memoryController() ?? "";
const netConf = JSON.stringify({ Network: "10.128.0.0/9", Backend: { Type: "vxlan" } });

let cluster: KubeCluster;
let objects: Service;

interface Figures {
  readonly subnetMs: number;
  readonly routesMs: number;
  readonly startBytes: number;
  readonly startRequests: readonly string[];
  readonly anonymousMib: number;
  readonly processorPercent: number;
  readonly bytesPerSecond: number;
  /** While the nodes changed. */
  readonly laterRequests: readonly string[];
  readonly failures: number;
}

beforeAll(async () => {
  cluster = await createKubeCluster({ nodes: 1, booted: 0 });
  const { plane, fabric } = cluster;
  // Its own controllers would be busy with nodes that have no kubelet.
  await plane.part("kube-controller-manager").stop();
  const credentials = ["https://10.77.0.1:6443", "/run/kube/ca.crt", plane.tokenOf("admin")];
  const program = fileURLToPath(import.meta.resolve("../lab/cluster/node_objects.ts"));
  objects = await fabric.router.start(process.execPath, [program, ...credentials]);
  // In parts, for each answer has a time limit.
  for (let from = 0; from < COUNT; from += PART) await objects.ask(`create ${from} ${PART}`);
  // With what the manifest allows, and nothing else.
  await plane.apply(manifest());
  const own = { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24"] };
  await plane.apply(
    JSON.stringify({ apiVersion: "v1", kind: "Node", metadata: { name: "n1" }, spec: own }),
  );
  const { sandbox } = cluster.node(1);
  const token = await plane.kubectl("create", "token", "-n", "kube-flannel", "flannel");
  await sandbox.writeFile("/run/flanneld.kubeconfig", plane.kubeconfigFor(token.trim()), 0o600);
  await sandbox.writeFile("/run/net-conf.json", netConf);
}, 600_000);

afterAll(async () => {
  await cluster.close();
});

/** Bytes that the node has received. It has nothing but flanneld. */
async function received(): Promise<number> {
  const text = await cluster.node(1).sandbox.output("ip", ["-j", "-s", "link", "show", "eth0"]);
  const [link] = JSON.parse(text) as { stats64: { rx: { bytes: number } } }[];
  return link?.stats64.rx.bytes ?? 0;
}

/** MiB that cannot be dropped. */
function anonymousOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/RssAnon:\s+(\d+)/.exec(text)?.[1]) / 1024;
}

/** Milliseconds of processor time, those of ended children included. */
function timeOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]) * 10, 0);
}

/** Starts a flanneld, and lets it follow the changes. */
async function measure(file: string, processes?: string): Promise<Figures> {
  const { sandbox } = cluster.node(1);
  await sandbox.sh("rm -rf /run/flannel; ip link delete flannel.1 2> /dev/null || true");
  const before = await received();
  const asked = (await cluster.plane.flannelRequests()).length;
  const began = performance.now();
  const args = [
    ...["-kube-subnet-mgr", "-kubeconfig-file=/run/flanneld.kubeconfig", "-iface=eth0"],
    ...["-ip-masq", "-net-config-path=/run/net-conf.json"],
  ];
  const daemon: Daemon = startOtherFlanneld(sandbox, file, args, { NODE_NAME: "n1" }, processes);
  try {
    const since = () => performance.now() - began;
    await until("subnet.env", () => sandbox.exists("/run/flannel/subnet.env"), daemon);
    const subnetMs = since();
    const routes = async () => Number(await sandbox.sh("ip route show dev flannel.1 | wc -l"));
    await expectSoon("all routes", async () => (await routes()) >= COUNT);
    const routesMs = since();
    await delay(3000);
    const started = await cluster.plane.flannelRequests();
    const [bytes, time] = [await received(), timeOf(daemon.pid())];
    await objects.ask(`change ${COUNT} ${RATE} ${SECONDS}`);
    await delay(1000);
    const changed = (await received()) - bytes;
    const busy = timeOf(daemon.pid()) - time;
    const requests = await cluster.plane.flannelRequests();
    return {
      startRequests: started.slice(asked),
      laterRequests: requests.slice(started.length),
      subnetMs,
      routesMs,
      startBytes: bytes - before,
      anonymousMib: anonymousOf(daemon.pid()),
      processorPercent: busy / ((SECONDS + 1) * 10),
      bytesPerSecond: changed / (SECONDS + 1),
      failures: daemon
        .log()
        .split("\n")
        .filter((line) => /^E|ERROR|error/.test(line)).length,
    };
  } finally {
    await daemon.end();
  }
}

function tell(name: string, figures: Figures): void {
  const { subnetMs, routesMs, startBytes, anonymousMib } = figures;
  const { processorPercent, bytesPerSecond, failures, startRequests, laterRequests } = figures;
  console.log(
    `${name}, ${COUNT} nodes: subnet.env after ${subnetMs.toFixed(0)} ms, all routes after ` +
      `${routesMs.toFixed(0)} ms, ${(startBytes / 1e6).toFixed(1)} MB received meanwhile; at ${RATE} changes ` +
      `a second: ${(bytesPerSecond / 1000).toFixed(1)} kB/s, ${processorPercent.toFixed(1)} % of a ` +
      `processor; ${anonymousMib.toFixed(0)} MiB anonymous memory; ${failures} errors logged; ` +
      `requests at the start: ${startRequests.join(", ")}; later: ${laterRequests.join(", ")}`,
  );
}

test.skipIf(controller === "")(`${COUNT} nodes within ${LIMIT_MIB} MiB`, async () => {
  const group = await limitMemory(controller, LIMIT_MIB);
  onTestFinished(group.remove);
  const figures = await measure(join(binDir(), "flanneld"), group.processes);
  tell("flannel-cni", figures);
  expect(figures.anonymousMib).toBeLessThan(LIMIT_MIB / 2);
  expect(figures.failures).toBe(0);
});

const goFlanneld = join(goFlannel.folder, "flanneld");

test.runIf(existsSync(goFlanneld))("the Go program beside it", async () => {
  const figures = await measure(goFlanneld);
  tell("Go", figures);
  expect(figures.routesMs).toBeGreaterThan(0);
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

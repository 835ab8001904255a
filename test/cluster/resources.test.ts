/**
 * What the manifest's containers take, as the node's cgroups count it: at rest, and while pods come and go.
 * decision 28 has the figures that this prints.
 */
import { setTimeout as delay } from "node:timers/promises";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import {
  createPods,
  deletePods,
  imageArchive,
  installFlannel,
  manifest,
  whenReady,
} from "../helpers/kube.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";

let cluster: KubeCluster;

const agentManifest = readFileSync("deploy/kube-flannel-agent.yml", "utf8");

beforeAll(async () => {
  cluster = await createKubeCluster({ nodes: 2, images: [imageArchive()] });
  await installFlannel(cluster);
  await cluster.plane.apply(agentManifest);
  await cluster.plane.kubectl(
    ...["rollout", "status", "-n", "kube-flannel", "ds/kube-flannel-agent", "--timeout=50s"],
  );
});

afterAll(async () => {
  await cluster.close();
});

interface Usage {
  /** MiB of all that the group has; the second number without files' pages. */
  readonly memory: readonly [all: number, own: number];
  readonly mostMemory: number;
  /** Seconds of processor time so far. */
  readonly processor: number;
}

/** What a container's group on the first node has, of either version of cgroups. */
async function usageOf(process: string): Promise<Usage> {
  const text = await cluster.node(1).sandbox.sh(`
    pid=$(pgrep -o -f '${process}')
    group() { /run/cgroup-entry sed -n "s/^[0-9]*:\\([^:]*,\\)\\?$1\\(,[^:]*\\)\\?://p" /proc/$pid/cgroup; }
    if [ -e /sys/fs/cgroup/cgroup.procs ]; then
      cd "/sys/fs/cgroup$(group "")"
      cat memory.current memory.peak
      sed -n 's/^anon //p' memory.stat
      sed -n 's/^usage_usec \\(.*\\)/\\1000/p' cpu.stat
    else
      cd "/sys/fs/cgroup/memory$(group memory)"
      cat memory.usage_in_bytes memory.max_usage_in_bytes
      sed -n 's/^total_rss //p' memory.stat
      cat "/sys/fs/cgroup/cpuacct$(group cpuacct)/cpuacct.usage"
    fi
  `);
  const [all = 0, most = 0, own = 0, time = 0] = text.trim().split("\n").map(Number);
  return {
    memory: [all / 2 ** 20, own / 2 ** 20],
    mostMemory: most / 2 ** 20,
    processor: time / 1e9,
  };
}

type Resources = Readonly<Record<string, Readonly<Record<string, string>>>>;

interface ManifestObject {
  readonly kind: string;
  readonly spec?: {
    readonly template: {
      readonly spec: { readonly containers: readonly { resources?: Resources }[] };
    };
  };
}

/** MiB that a manifest's container asks for, or may have. */
function mebibytes(text: string, which: "requests" | "limits"): number | undefined {
  const set = parseAllDocuments(text)
    .map((document) => document.toJS() as ManifestObject)
    .find(({ kind }) => kind === "DaemonSet");
  const memory = set?.spec?.template.spec.containers[0]?.resources?.[which]?.["memory"];
  return memory === undefined ? undefined : Number(memory.replace("Mi", ""));
}

const REST_SECONDS = 20;

test.for([
  ["flanneld", "flanneld --ip-masq", manifest()],
  ["the agent", "flannel agent", agentManifest],
])("%s stays within what its manifest asks for", async ([name = "", process = "", text = ""]) => {
  const before = await usageOf(process);
  await delay(REST_SECONDS * 1000);
  const rest = await usageOf(process);
  const pods = Array.from({ length: 30 }, (_, at) => ({ name: `pod${at}`, node: 1 }));
  const names = pods.map((pod) => pod.name);
  await createPods(cluster, pods);
  await whenReady(cluster, names);
  await deletePods(cluster, names);
  const after = await usageOf(process);
  const percent = ((rest.processor - before.processor) / REST_SECONDS) * 100;
  console.log(
    `${name}: ${rest.memory[0].toFixed(0)} MiB at rest, ${rest.memory[1].toFixed(0)} of them its own, ` +
      `${percent.toFixed(2)} % of a processor; its start took ${before.processor.toFixed(2)} s; 30 pods that ` +
      `came and went ${(after.processor - rest.processor).toFixed(2)} s and then ` +
      `${after.memory[1].toFixed(0)} MiB; ${after.mostMemory.toFixed(0)} MiB at most`,
  );
  const asked = mebibytes(text, "requests") ?? expect.fail();
  expect(after.memory[1]).toBeLessThan(asked);
  expect(after.mostMemory).toBeLessThan(mebibytes(text, "limits") ?? Number.POSITIVE_INFINITY);
});

test("doctor fits beside flanneld into the limit that docs/flanneld.md recommends", async () => {
  const [, recommended] =
    /up to 100 \| \d+Mi \| (\d+)Mi/.exec(readFileSync("docs/flanneld.md", "utf8")) ?? [];
  const pod = await cluster.plane.kubectl(
    ...["get", "pods", "-n", "kube-flannel", "-l", "app=flannel", "-o", "name"],
    ...["--field-selector", "spec.nodeName=n1"],
  );
  const doctor = await cluster.plane.tryKubectl([
    ...["exec", "-n", "kube-flannel", pod.trim(), "-c", "kube-flannel", "--", "cnitool", "doctor"],
  ]);
  expect(doctor.exitCode, doctor.stdout).toBe(0);
  const { mostMemory } = await usageOf("flanneld --ip-masq");
  console.log(`flanneld with doctor in its container: ${mostMemory.toFixed(0)} MiB at most`);
  expect(mostMemory).toBeLessThan(Number(recommended));
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

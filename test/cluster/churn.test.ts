/** Pods come and go, thirty at a time: with our plugins and with the reference plugins, by turns. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { referencePlugins } from "../../scripts/kubernetes/programs.ts";
import { binDir } from "../helpers/executables.ts";
import {
  containerPort,
  createPods,
  expectAnswer,
  expectSoon,
  imageArchive,
  installFlannel,
  whenReady,
} from "../helpers/kube.ts";
import { createKubeCluster, type KubeCluster } from "../lab/cluster/cluster.ts";
import { startPeer, type Peer } from "../lab/traffic.ts";

const PODS = 30;
const WITH_HOST_PORT = 10;
/** Fewer where all tests run: `make test ARGS=--cluster`. */
const ROUNDS = Number(process.env["CHURN_ROUNDS"] ?? 10);

/** Each round can take a minute on a busy machine. */
const timeout = 120_000 * (ROUNDS + 2);

let cluster: KubeCluster;
/** On the router: outside of the cluster. */
let client: Peer;

beforeAll(async () => {
  cluster = await createKubeCluster({ nodes: 1, images: [imageArchive()] });
  await installFlannel(cluster);
  client = await startPeer({ name: "client", start: cluster.fabric.router.start });
});

afterAll(async () => {
  await cluster.close();
});

/** What pods leave on the node, a line each. */
async function traces(): Promise<readonly string[]> {
  const text = await cluster.node(1).sandbox.sh(`
    ls -d /sys/class/net/veth* /run/netns/* 2> /dev/null || true
    find /var/lib/cni -name '10.*' -o -path '*/results/*' -o -path '*/flannel/*'
    iptables-save | grep -- '--to-destination' | grep 10.244 || true
  `);
  return text.split("\n").filter((line) => line !== "");
}

/** Creates pods, looks at each, and deletes them. @returns seconds until all were ready, and gone. */
async function round(): Promise<readonly [created: number, deleted: number]> {
  const pods = Array.from({ length: PODS }, (_, at) => ({
    name: `pod${at}`,
    node: 1,
    ...(at < WITH_HOST_PORT ? { hostPort: 9000 + at } : {}),
  }));
  const started = performance.now();
  await createPods(cluster, pods);
  const running = await whenReady(
    cluster,
    pods.map(({ name }) => name),
  );
  const created = (performance.now() - started) / 1000;
  expect(new Set(running.flatMap(({ addresses }) => addresses)).size).toBe(PODS);
  const serving = running.slice(0, WITH_HOST_PORT);
  const peers = await Promise.all(
    serving.map(({ name, namespace }) =>
      startPeer(namespace, [{ protocol: "tcp", port: containerPort }], name),
    ),
  );
  for (const [at, { name: server }] of serving.entries()) {
    await expectAnswer(client, { address: "10.77.0.11", port: 9000 + at, server });
  }
  for (const peer of peers) await peer.stop();
  const ended = performance.now();
  await cluster.plane.kubectl("delete", "pod", "-l", "lab/test", "--timeout=50s");
  await expectSoon("nothing is left of the pods", async () => (await traces()).length === 0);
  return [created, (performance.now() - ended) / 1000];
}

/** A suite of plugins, and how long its rounds took. */
interface Suite {
  readonly name: string;
  /** Puts its plugins and its config on the node, which has none. */
  readonly install: () => Promise<void>;
  readonly rounds: (readonly [created: number, deleted: number])[];
}

const suites: readonly Suite[] = [
  {
    name: "ours",
    async install() {
      await cluster.node(1).sandbox.output(join(binDir(), "install-cni"));
    },
    rounds: [],
  },
  {
    name: `the reference ${referencePlugins.version}`,
    async install() {
      const { sandbox } = cluster.node(1);
      await sandbox.sh(`cp ${referencePlugins.folder}/* /opt/cni/bin/`);
      const subnet = await sandbox.sh(". /run/flannel/subnet.env; echo $FLANNEL_SUBNET");
      const ranges = [[{ subnet: subnet.trim().replace(/\d+\//, "0/") }]];
      const bridge = {
        ...{ type: "bridge", bridge: "cni0", isDefaultGateway: true, hairpinMode: true },
        ...{ ipMasq: false, ipam: { type: "host-local", ranges } },
      };
      const portmap = { type: "portmap", capabilities: { portMappings: true } };
      const conflist = { cniVersion: "1.0.0", name: "cbr0", plugins: [bridge, portmap] };
      await sandbox.writeFile("/etc/cni/net.d/10-reference.conflist", JSON.stringify(conflist));
    },
    rounds: [],
  },
];

/** Takes the plugins away with all that they have made, and installs a suite. */
async function change({ install }: Suite): Promise<void> {
  const node = cluster.node(1);
  await node.sandbox.sh("rm /etc/cni/net.d/*");
  const problem = async () => node.networkProblem();
  await expectSoon("containerd has no config", async () => (await problem()) !== "");
  await node.sandbox.sh("ip link delete cni0; rm -r /opt/cni/bin/* /var/lib/cni/*");
  await install();
  await expectSoon("containerd has the other config", async () => (await problem()) === "");
  await cluster.plane.kubectl("wait", "--for=condition=Ready", "node", "n1", "--timeout=50s");
}

test(`${PODS} pods come and go ${ROUNDS} times with each`, { timeout }, async () => {
  for (let at = 0; at < ROUNDS; at += 1) {
    for (const suite of suites) {
      if (suite !== suites[0] || at > 0) await change(suite);
      suite.rounds.push(await round());
    }
  }
  for (const { name, rounds } of suites) {
    const text = (at: 0 | 1) => rounds.map((pair) => pair[at].toFixed(1)).join(", ");
    console.log(`${PODS} pods with ${name}: ready after ${text(0)} s, gone after ${text(1)} s`);
  }
  const log = await cluster.node(1).part("containerd").log(20_000);
  expect(log.split("\n").filter((line) => /level=error.*plugin type=/.test(line))).toEqual([]);
});

test("the cluster leaves nothing on the machine", async () => {
  expect(await cluster.close()).toEqual([]);
});

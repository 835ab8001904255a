/**
 * The executable itself, with leases from the Kubernetes API and rules in the firewall, is killed at any
 * moment, and refused any request to the kernel and any run of a firewall tool. Then all of the node is as
 * the leases want it: device, routes, neighbours, forwarding entries, rules, subnet.env.
 */
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { execa } from "execa";
import { beforeAll, describe, expect, test } from "vitest";
import { startOtherFlanneld, until, type Daemon } from "../helpers/flanneld.ts";
import {
  answer,
  createKubeNodes,
  kubeArgs,
  prefix,
  startOnKube,
  whenReady,
  type KubeNodes,
} from "../helpers/flanneld_nodes.ts";
import { soak } from "../helpers/form.ts";
import { lostDuring, overlayOf } from "../helpers/overlay_cluster.ts";
import { addFabricPod, type FabricNode } from "../lab/fabric.ts";
import { generator } from "./random.ts";

const kills = soak ? 500 : 5;
const refusals = soak ? 200 : 1;
const ERRNOS = [1, 12, 16, 17, 19];
/** EEXIST to what makes something, and ENODEV to what removes it. */
const believed = /:(?:17|19)$/;
/** Milliseconds within which it is killed: it takes half of them until all is programmed. */
const longestLife = 500;

const folder = resolve("dist/.work/fault-flanneld");
const firewalls = [
  { firewall: "iptables", nftables: false, family: 4 },
  { firewall: "nftables", nftables: true, family: 6 },
] as const;
/** The short form has a firewall for each test. */
const killed = soak ? firewalls : firewalls.slice(0, 1);
const refused = soak ? firewalls : firewalls.slice(1);

const podCidrs = (number: number) => [`10.244.${number}.0/24`, `fd00:244:0:${number}::/64`];

/** Two nodes, of which the second keeps its flanneld, with a pod each. */
async function createNodes(nftables: boolean) {
  const nodes = await createKubeNodes(2, {
    ...{ EnableNFTables: nftables, EnableIPv6: true, IPv6Network: "fd00:244::/48" },
    Backend: { Type: "vxlan" },
  });
  const [node, peer] = [nodes.node(1), nodes.node(2)];
  const pods = await Promise.all(
    [node, peer].map(async (each, at) => {
      await nodes.api.call("setNode", each.name, { podCIDRs: podCidrs(at + 1) });
      const addresses = [
        { address: `10.244.${at + 1}.2`, gateway: `10.244.${at + 1}.1`, prefix: 24 },
        { address: `fd00:244:0:${at + 1}::2`, gateway: `fd00:244:0:${at + 1}::1`, prefix: 64 },
      ];
      return addFabricPod(each, { name: "pod", mtu: 1430, addresses });
    }),
  );
  const [pod] = pods;
  if (pod === undefined) throw new Error("there are two nodes");
  const daemon = startOnKube(node);
  const peerDaemon = startOnKube(peer);
  await Promise.all([whenReady(node, daemon), whenReady(peer, peerDaemon)]);
  // One that is ready may not have heard of the other yet.
  for (const each of [node, peer]) {
    await until(
      `${each.name}'s ways to the other`,
      async () => /^flanneld_routes_programmed 2$/m.test(await answer(each, "/metrics")),
      ...[daemon, peerDaemon],
    );
  }
  return { nodes, node, pod, daemon, [Symbol.asyncDispose]: nodes[Symbol.asyncDispose] };
}

/** A peer that comes, goes and changes. */
async function setFickle({ api }: KubeNodes, time: number): Promise<void> {
  if (time % 3 === 0) {
    await api.call("deleteNode", "fickle");
    return;
  }
  const data = JSON.stringify({ VNI: 1, VtepMAC: `02:dd:dd:dd:dd:0${time % 7}` });
  await api.call("setNode", "fickle", {
    podCIDRs: podCidrs(50 + (time % 3)),
    annotations: {
      [`${prefix}kube-subnet-manager`]: "true",
      [`${prefix}backend-type`]: "vxlan",
      [`${prefix}backend-data`]: data,
      [`${prefix}backend-v6-data`]: data,
      [`${prefix}public-ip`]: "10.77.0.55",
      [`${prefix}public-ipv6`]: "fd77::55",
    },
  });
}

/** All that flanneld makes on a node. */
async function stateOf(node: FabricNode): Promise<string> {
  const more = await node.sandbox.sh(`
    ip route show | sort; ip -6 route show | sort; ip rule; ip -6 rule
    nft list tables | sort | while read table; do nft --stateless list $table; done
    grep -s ^ /run/flannel/subnet.env || :
    ls -A /run/flannel || :
  `);
  return `${await overlayOf(node)}${more}`;
}

async function expectState(node: FabricNode, wanted: string, daemon: Daemon): Promise<void> {
  const end = performance.now() + 30_000;
  for (;;) {
    const now = await stateOf(node);
    if (now === wanted) return;
    if (performance.now() > end) {
      expect(now, daemon.log()).toBe(wanted);
    }
    await setTimeout(30);
  }
}

/** Takes away all that flanneld has made, but for what the Node object says. */
async function wipe({ sandbox }: FabricNode): Promise<void> {
  await sandbox.sh(`
    for device in flannel.1 flannel-v6.1; do ip link delete $device || :; done
    ip route flush proto 70; ip -6 route flush proto 70
    nft flush ruleset
    rm -rf /run/flannel
  `);
}

/** Each request with an errno by turns, and each run of a tool: so many of them, from first to last. */
function faultsOf(requests: number, tools: number, count: number): Record<string, string>[] {
  const all = [
    ...Array.from({ length: requests }, (_, at) => ({
      FAULT_NETLINK: `${at + 1}:${ERRNOS[at % ERRNOS.length]}`,
    })),
    ...Array.from({ length: tools }, (_, at) => [
      { FAULT_TOOL: `${at + 1}:before` },
      { FAULT_TOOL: `${at + 1}:after` },
    ]).flat(),
  ];
  const step = all.length / count;
  return Array.from({ length: count }, (_, at) => all[Math.floor((at + 0.5) * step)] ?? {});
}

describe.concurrent("the executable", () => {
  beforeAll(async () => {
    mkdirSync(folder, { recursive: true });
    const entry = ["--entry=test/fault/entry_bun.ts", `--out=${folder}`];
    await execa(process.execPath, ["scripts/build/main.ts", "bin", ...entry]);
  });

  test.for(killed)(
    `${kills} kills lose no packet and leave nothing, with $firewall`,
    { timeout: 3_600_000 },
    async ({ nftables, family }) => {
      await using cluster = await createNodes(nftables);
      const { node, nodes, pod } = cluster;
      const before = await stateOf(node);
      const random = generator(family);
      let { daemon } = cluster;
      const target = family === 4 ? "10.244.2.2" : "fd00:244:0:2::2";
      const lost = await lostDuring({ pod, sandbox: node.sandbox }, target, async () => {
        for (let time = 0; time < kills; time++) {
          await daemon.end("SIGKILL");
          daemon = startOnKube(node);
          await Promise.all([setFickle(nodes, time), setTimeout(10 + random() * longestLife)]);
        }
      });
      expect(lost).toBe(0);
      await daemon.end("SIGKILL");
      await nodes.api.call("deleteNode", "fickle");
      daemon = startOnKube(node);
      await whenReady(node, daemon);
      await expectState(node, before, daemon);
    },
  );

  test.for(refused)(
    `${refusals} refused requests and tools are made up for, with $firewall`,
    { timeout: 3_600_000 },
    async ({ nftables }) => {
      await using cluster = await createNodes(nftables);
      const { node, nodes } = cluster;
      const wanted = await stateOf(node);
      await setFickle(nodes, 1);
      await whenReady(node, cluster.daemon);
      await cluster.daemon.end();
      const { api } = nodes;
      const drive = async (fault: Readonly<Record<string, string>>): Promise<string> => {
        await wipe(node);
        await setFickle(nodes, 0);
        const daemon = startOtherFlanneld(node.sandbox, `${folder}/flanneld`, kubeArgs(), {
          ...{ NODE_NAME: node.name, ...fault },
        });
        await expectState(node, wanted, daemon);
        // Later requests: what is put back, and a peer that comes and goes.
        await node.sandbox.sh("ip link delete flannel.1; nft flush ruleset");
        await setFickle(nodes, 1);
        await setTimeout(300);
        await api.call("deleteNode", "fickle");
        // Told that it is so already, flanneld may believe it until it looks at everything again.
        if (believed.test(fault["FAULT_NETLINK"] ?? "")) {
          await setTimeout(300);
          await daemon.end();
          const next = startOnKube(node);
          await expectState(node, wanted, next);
          await next.end();
          return daemon.log();
        }
        await expectState(node, wanted, daemon);
        await daemon.end();
        return daemon.log();
      };
      const log = await drive({ FAULT_NETLINK: "count", FAULT_TOOL: "count" });
      const requests = Number(/requests: (\d+)/.exec(log)?.[1]);
      const tools = Number(/tools: (\d+)/.exec(log)?.[1]);
      expect(requests).toBeGreaterThan(60);
      expect(tools).toBeGreaterThan(nftables ? 1 : 7);
      for (const fault of faultsOf(requests, tools, refusals)) {
        try {
          await drive(fault);
        } catch (error) {
          throw new Error(JSON.stringify(fault), { cause: error });
        }
      }
    },
  );
});

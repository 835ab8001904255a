/** Nodes in namespaces, with a stand-in for the Kubernetes API. */
import { binDir } from "../executables.ts";
import type { Daemon } from "../flanneld.ts";
import {
  createKubeNodes,
  netConf,
  prefix,
  startOnKube,
  whenReady,
  type KubeNodes,
} from "../flanneld_nodes.ts";
import { addFabricPod } from "../../lab/fabric.ts";
import type { Namespace } from "../../lab/namespace.ts";
import {
  netConfOf,
  networksOf,
  podAddresses,
  podMtu,
  type BackendLab,
  type BackendNode,
} from "./lab.ts";
import type { BackendRow } from "./rows.ts";

/** Makes nodes that run flanneld with a backend, each with a pod, and waits until they are ready. */
export async function createNetnsLab(row: BackendRow): Promise<BackendLab> {
  const networks = networksOf(row);
  const cluster = await createKubeNodes(networks.length, netConfOf(row), networks);
  const dispose = async () => cluster[Symbol.asyncDispose]();
  try {
    const nodes: BackendNode[] = [];
    for (const at of networks.keys()) nodes.push(await addNode(cluster, at + 1, row));
    const lab: BackendLab = {
      ...{ nodes, store: "annotations", pingInterval: 10 },
      async configure(backend) {
        for (const { sandbox } of cluster.fabric.nodes) {
          await sandbox.writeFile("/run/net-conf.json", netConf(netConfOf({ ...row, backend })));
        }
      },
      [Symbol.asyncDispose]: dispose,
    };
    await row.prepare?.(lab);
    await Promise.all(nodes.map(async ({ start }) => start()));
    return lab;
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function addNode(cluster: KubeNodes, number: number, row: BackendRow): Promise<BackendNode> {
  const node = cluster.node(number);
  const { sandbox, name } = node;
  await cluster.api.call("setNode", name, {
    podCIDRs: row.families.map((family) =>
      family === 4 ? `10.244.${number}.0/24` : `fd00:244:0:${number}::/64`,
    ),
  });
  const pod: Namespace = await addFabricPod(node, {
    ...{ name: "pod", mtu: podMtu, addresses: podAddresses(number, row) },
  });
  let daemon: Daemon | undefined;
  let earlier = "";
  return {
    ...{ number, sh: sandbox.sh, pod: pod.sh, subnetFile: "/run/flannel/subnet.env" },
    async start() {
      daemon = startOnKube(node);
      await whenReady(node, daemon);
    },
    async end(signal) {
      await daemon?.end(signal);
      earlier += daemon?.log() ?? "";
      daemon = undefined;
    },
    log: async () => Promise.resolve(`${earlier}${daemon?.log() ?? ""}`),
    async cleanup() {
      await sandbox.output(`${binDir()}/flanneld`, ["cleanup"]);
    },
    async told() {
      const { annotations = {} } = (await cluster.api.call("node", name))?.metadata ?? {};
      const own = Object.entries(annotations).filter(([key]) => key.startsWith(prefix));
      return JSON.stringify(
        Object.fromEntries(
          own
            .map(([key, value]) => [key.slice(prefix.length), value] as const)
            .toSorted(([a], [b]) => (a < b ? -1 : 1)),
        ),
      );
    },
  };
}

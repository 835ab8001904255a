/** Nodes of a fabric, each with flanneld's data path and a pod, that know each other's leases. */
import { setTimeout } from "node:timers/promises";
import type { JsonObject } from "../../shared/base/json.ts";
import {
  addFabricPod,
  createFabric,
  type Fabric,
  type FabricNode,
  type NodeOptions,
} from "../lab/fabric.ts";
import type { Namespace } from "../lab/namespace.ts";
import type { StaticConfig, WireLease } from "../static_flanneld/daemon.ts";
import { startStatic, type StaticFlanneld } from "../static_flanneld/start.ts";

/** A node of a cluster. */
export interface ClusterNode extends FabricNode {
  readonly number: number;
  readonly config: StaticConfig;
  daemon: StaticFlanneld;
  /** What its peers are told of it. */
  lease: WireLease;
  /** Its one pod. */
  readonly pod: Namespace;
  readonly pod4: string;
  readonly pod6: string;
}

export interface Cluster {
  readonly nodes: readonly ClusterNode[];
  readonly router: Fabric["router"];
  /** The node of a number, counted from 1. */
  readonly node: (number: number) => ClusterNode;
  /** Tells a node of its peers' leases, as they are now. */
  readonly tell: (
    node: ClusterNode,
    change?: (peers: Record<string, WireLease>) => void,
  ) => Promise<void>;
  /** Starts a node's flanneld anew, as it was started first, and tells it of its peers. */
  readonly restart: (node: ClusterNode) => Promise<void>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface ClusterOptions {
  /** net-conf.json without networks. */
  readonly backend: JsonObject & { readonly Type: string };
  readonly families?: readonly (4 | 6)[];
  readonly nftables?: boolean;
  readonly nodes?: readonly Omit<NodeOptions, "name">[];
  readonly config?: Partial<StaticConfig>;
}

export async function createCluster(options: ClusterOptions): Promise<Cluster> {
  const { backend, families = [4, 6] } = options;
  const numbers = options.nodes ?? [{ number: 1 }, { number: 2 }, { number: 3 }];
  const fabric = await createFabric(numbers.map((node) => ({ ...node, name: `n${node.number}` })));
  const [has4, has6] = [families.includes(4), families.includes(6)];
  const netConf = {
    EnableNFTables: options.nftables === true,
    ...(has4 ? { Network: "10.244.0.0/16" } : { EnableIPv4: false }),
    ...(has6 ? { EnableIPv6: true, IPv6Network: "fd00:244::/48" } : {}),
    Backend: backend,
  };
  try {
    const nodes = await Promise.all(
      fabric.nodes.map(async (node, at): Promise<ClusterNode> => {
        const number = numbers[at]?.number ?? 0;
        const subnets = {
          ...(has4 ? { subnet: `10.244.${number}.0/24` } : {}),
          ...(has6 ? { subnetV6: `fd00:244:0:${number}::/64` } : {}),
        };
        const config = { netConf, iface: "eth0", own: subnets, ...options.config };
        const daemon = await startStatic(node.sandbox, config);
        const { macs } = await daemon.ask();
        const lease: WireLease = {
          ...subnets,
          publicIp: node.address4,
          publicIpv6: node.address6,
          type: backend.Type,
          data: { VNI: backend["VNI"] ?? 1, VtepMAC: macs.ipv4 },
          dataV6: { VNI: backend["VNI"] ?? 1, VtepMAC: macs.ipv6 },
        };
        const [pod4, pod6] = [`10.244.${number}.2`, `fd00:244:0:${number}::2`];
        const pod = await addFabricPod(node, {
          name: "pod",
          mtu: 1430,
          addresses: [
            ...(has4 ? [{ address: pod4, gateway: `10.244.${number}.1`, prefix: 24 }] : []),
            ...(has6 ? [{ address: pod6, gateway: `fd00:244:0:${number}::1`, prefix: 64 }] : []),
          ],
        });
        return { ...node, number, config, daemon, lease, pod, pod4, pod6 };
      }),
    );
    const tell: Cluster["tell"] = async (node, change) => {
      const otherNodes = nodes.filter((candidate) => candidate !== node);
      const peers = Object.fromEntries(otherNodes.map(({ name, lease }) => [name, lease]));
      change?.(peers);
      await node.daemon.tell({ peers, complete: true });
    };
    await Promise.all(nodes.map(async (node) => tell(node)));
    return {
      nodes,
      router: fabric.router,
      node: (number) => {
        const found = nodes.find((node) => node.number === number);
        if (found === undefined) throw new Error(`there is no node ${number}`);
        return found;
      },
      tell,
      restart: async (node) => {
        const { data, dataV6 } = node.lease;
        const earlier = {
          ...(data === undefined ? {} : { data }),
          ...(dataV6 === undefined ? {} : { dataV6 }),
        };
        node.daemon = await startStatic(node.sandbox, { ...node.config, earlier });
        await tell(node);
      },
      close: async () => fabric.close(),
      [Symbol.asyncDispose]: async () => fabric.close(),
    };
  } catch (error) {
    await fabric.close();
    throw error;
  }
}

/** Tells what flanneld has on a node, the same as long as nothing is changed. */
export const overlayScript = `
  for device in $(ip -o link | sed -n 's/^[0-9]*: \\(flannel[^:@]*\\)[:@].*/\\1/p' | sort); do
    ip -d -o link show $device | sed 's/^[0-9]*: //; s/ promiscuity.*vxlan/ vxlan/; s/ addrgenmode.*//; s/ qdisc.* qlen/ qlen/'
    ip -o address show dev $device | grep -v fe80: | sed 's/^[0-9]*: //; s/ nodad//'
    ip neighbour show dev $device nud permanent | sed "s/^/$device /" | sort
    bridge fdb show dev $device | sed "s/^/$device /" | sort
    echo "$device accept_ra $(cat /proc/sys/net/ipv6/conf/$device/accept_ra)"
  done
  ip route show proto 70
  ip -6 route show proto 70`;

export async function overlayOf({ sandbox }: FabricNode): Promise<string> {
  return sandbox.sh(overlayScript);
}

/**
 * Waits until what a node has is as wanted. That takes less than a second on a quiet machine; the limit
 * is well before the next look that no event has asked for.
 */
export async function expectOverlay(node: FabricNode, wanted: string): Promise<void> {
  const end = performance.now() + 30_000;
  for (;;) {
    const now = await overlayOf(node);
    if (now === wanted) return;
    if (performance.now() > end) throw new Error(`After 30 s it is\n${now}\nand not\n${wanted}`);
    await setTimeout(20);
  }
}

/** Pings every ten milliseconds while something happens. @returns how many answers were missing. */
export async function lostDuring(
  from: Pick<ClusterNode, "pod" | "sandbox">,
  address: string,
  happens: () => Promise<void>,
): Promise<number> {
  const pinging = from.pod.exec(
    "sh",
    [
      "-c",
      `ping -n -i 0.01 -W 1 ${address} > /run/pings & echo $! > /run/ping; wait $!; cat /run/pings`,
    ],
    { timeout: 3_600_000 },
  );
  await from.pod.ping(address);
  await happens();
  await from.pod.ping(address);
  await from.sandbox.sh("kill -INT $(cat /run/ping)");
  const { stdout } = await pinging;
  const answered = new Set(
    [...stdout.matchAll(/icmp_seq=(\d+)/g)].map(([, number]) => Number(number)),
  );
  if (answered.size < 10) throw new Error(`Nearly nothing was answered:\n${stdout}`);
  // What was on its way when it ended is not lost.
  return Math.max(...answered) - answered.size;
}

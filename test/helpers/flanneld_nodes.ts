/** Nodes of a fabric that run flanneld, with the Kubernetes API or an etcd on their router. */
import { createFabric, type Fabric, type FabricNode } from "../lab/fabric.ts";
import type { Sandbox } from "../lab/sandbox.ts";
import {
  startEtcd,
  startFlanneld,
  startKubeApi,
  until,
  type Daemon,
  type Etcd,
  type RemoteKubeApi,
} from "./flanneld.ts";

/** For net-conf.json. */
export const netConf = (conf: object) => JSON.stringify({ Network: "10.244.0.0/16", ...conf });
export const vxlan = { Backend: { Type: "vxlan" } };

/** flannel's prefix of annotations. */
export const prefix = "flannel.alpha.coreos.com/";

export interface FlanneldNodes extends AsyncDisposable {
  readonly fabric: Fabric;
  /** The node of a number, counted from 1. */
  readonly node: (number: number) => FabricNode;
}

export interface KubeNodes extends FlanneldNodes {
  readonly api: RemoteKubeApi;
}

export interface EtcdNodes extends FlanneldNodes {
  readonly etcd: Etcd;
}

async function createNodes(
  count: number,
  networks: readonly (0 | 1)[] = [],
): Promise<FlanneldNodes> {
  const fabric = await createFabric(
    Array.from({ length: count }, (_, at) => ({
      ...{ name: `n${at + 1}`, number: at + 1, network: networks[at] ?? 0 },
    })),
  );
  return {
    fabric,
    node: (number) => {
      const node = fabric.nodes[number - 1];
      if (node === undefined) throw new Error(`there is no node ${number}`);
      return node;
    },
    [Symbol.asyncDispose]: async () => fabric.close(),
  };
}

/**
 * With a net-conf.json on each node, and no Node object yet.
 * @param networks that of each node, 0 unless told: the router is between those of different ones.
 */
export async function createKubeNodes(
  count = 2,
  conf: object = vxlan,
  networks: readonly (0 | 1)[] = [],
): Promise<KubeNodes> {
  const nodes = await createNodes(count, networks);
  const api = await startKubeApi(nodes.fabric.router, { host: "10.77.0.1", port: 6443 });
  for (const { sandbox } of nodes.fabric.nodes) {
    await sandbox.writeFile("/run/net-conf.json", netConf(conf));
  }
  return { ...nodes, api };
}

/** With a config in etcd, unless it is null. */
export async function createEtcdNodes(count = 2, conf: object | null = vxlan): Promise<EtcdNodes> {
  const nodes = await createNodes(count);
  const etcd = await startEtcd(nodes.fabric.router, { url: "http://10.77.0.1:2379" });
  if (conf !== null) {
    await etcd.ctl("put", "/coreos.com/network/config", netConf(conf));
  }
  return { ...nodes, etcd };
}

/** The flags that flannel's manifest gives, and more. */
export function kubeArgs(...args: readonly string[]): readonly string[] {
  const namesInterface = args.some((arg) => arg.startsWith("-iface"));
  return [
    ...["-kube-subnet-mgr", "-kube-api-url=http://10.77.0.1:6443", "-ip-masq"],
    ...(namesInterface ? [] : ["-iface=eth0"]),
    ...["-net-config-path=/run/net-conf.json", "-healthz-port=8081", ...args],
  ];
}

/** Starts flanneld as flannel's manifest does. */
export function startOnKube(node: FabricNode, ...args: readonly string[]): Daemon {
  return startFlanneld(node.sandbox, kubeArgs(...args), { NODE_NAME: node.name });
}

export function startOnEtcd(node: FabricNode, ...args: readonly string[]): Daemon {
  return startFlanneld(node.sandbox, [
    // Nobody answers at the first.
    "-etcd-endpoints=http://10.77.0.1:1,http://10.77.0.1:2379",
    ...["-iface=eth0", "-healthz-port=8081", ...args],
  ]);
}

/** The text of subnet.env; "" where there is none. */
export async function subnetEnv({ sandbox }: FabricNode): Promise<string> {
  return (await sandbox.exists("/run/flannel/subnet.env"))
    ? sandbox.readFile("/run/flannel/subnet.env")
    : "";
}

export async function whenWritten(node: FabricNode, daemon: Daemon): Promise<string> {
  await until("subnet.env", async () => (await subnetEnv(node)) !== "", daemon);
  return subnetEnv(node);
}

/** What flanneld's HTTP server answers, with its headers. */
export async function answer({ sandbox }: FabricNode, path: string): Promise<string> {
  return answerOn(sandbox, path);
}

export async function answerOn(sandbox: Pick<Sandbox, "exec">, path: string): Promise<string> {
  const script = `exec 3<>/dev/tcp/127.0.0.1/8081; printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`;
  const { stdout } = await sandbox.exec("bash", ["-c", script]);
  return stdout;
}

export async function whenReady(node: FabricNode, daemon: Daemon): Promise<void> {
  await until(
    `${node.name}'s readiness`,
    async () => (await answer(node, "/readyz")).includes(" 200 "),
    daemon,
  );
}

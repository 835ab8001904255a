/**
 * Several nodes of one network: each a sandbox, whose eth0 leads to a bridge in a sandbox of its own,
 * which is their router. What they know of each other's MACs is permanent, for the kernel has one
 * neighbour table for all namespaces of a machine, and it may be full.
 */
import { run } from "./process.ts";
import { createSandbox, type Sandbox } from "./sandbox.ts";

/** A node of a fabric. */
export interface FabricNode {
  readonly name: string;
  readonly sandbox: Sandbox;
  /** Of eth0. */
  readonly address4: string;
  readonly address6: string;
}

export interface Fabric {
  readonly nodes: readonly FabricNode[];
  /** Where the router's ends of the links are: "n1" leads to node n1. */
  readonly router: Sandbox;
  /** Ends a node's sandbox with everything in it, and makes one in its place. */
  replace(node: FabricNode): Promise<FabricNode>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface NodeOptions {
  readonly name: string;
  /** 1 to 9: its address is 10.77.0.1N, or 10.78.0.1N in network 1. */
  readonly number: number;
  /** 0 or 1: nodes of different networks reach each other by the router. */
  readonly network?: 0 | 1;
}

/** Makes a fabric of nodes. */
export async function createFabric(options: readonly NodeOptions[]): Promise<Fabric> {
  const sandboxes: Sandbox[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(sandboxes.map(async (sandbox) => sandbox.close()));
  };
  const make = async (): Promise<Sandbox> => {
    const sandbox = await createSandbox();
    sandboxes.push(sandbox);
    return sandbox;
  };
  try {
    const router = await make();
    await router.sh(`
      echo 1 > /proc/sys/net/ipv4/ip_forward
      echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
      for network in 0 1; do
        ip link add br$network address 02:77:00:00:0$network:01 type bridge
        ip address add 10.7$((7 + network)).0.1/24 dev br$network
        ip address add fd7$((7 + network))::1/64 dev br$network nodad
        ip link set br$network up
      done
    `);
    const nodes: FabricNode[] = [];
    for (const option of options) nodes.push(await connect(router, await make(), option));
    await introduce(router, nodes, options);
    return {
      nodes,
      router,
      async replace(node) {
        const at = nodes.findIndex(({ name }) => name === node.name);
        const option = options[at];
        if (option === undefined) throw new Error(`there is no node ${node.name}`);
        await nodes[at]?.sandbox.close();
        // The kernel takes its time to end a namespace, and the link would go with it.
        await router.exec("ip", ["link", "delete", node.name]);
        const fresh = await connect(router, await make(), option);
        nodes[at] = fresh;
        await introduce(router, nodes, options);
        return fresh;
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function connect(
  router: Sandbox,
  sandbox: Sandbox,
  { name, number, network = 0 }: NodeOptions,
): Promise<FabricNode> {
  const address4 = `10.7${7 + network}.0.1${number}`;
  const address6 = `fd7${7 + network}::1${number}`;
  // The one sandbox's processes cannot name the other's, so this is done from outside of both.
  const veth = ["link", "add", name, "type", "veth", "peer", "name", "eth0"];
  const made = await run("nsenter", [
    ...["-t", String(router.pid), "-n", "--", "ip", ...veth],
    ...["address", macOf(number), "netns", `/proc/${sandbox.pid}/ns/net`],
  ]);
  if (made.exitCode !== 0) throw new Error(`Cannot connect ${name}: ${made.stderr}`);
  await router.sh(`ip link set ${name} master br${network} up`);
  await sandbox.sh(`
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    ip address add ${address4}/24 dev eth0
    ip address add ${address6}/64 dev eth0 nodad
    ip link set eth0 up
    ip route add default via 10.7${7 + network}.0.1
    ip -6 route add default via fd7${7 + network}::1
  `);
  return { name, sandbox, address4, address6 };
}

function macOf(number: number): string {
  return `02:77:00:00:01:0${number}`;
}

/** Tells nodes and router each other's MACs. */
async function introduce(
  router: Sandbox,
  nodes: readonly FabricNode[],
  options: readonly NodeOptions[],
): Promise<void> {
  const lines = (link: (network: number) => string | undefined, self?: NodeOptions): string =>
    options
      .flatMap((option, at) => {
        const [node, dev] = [nodes[at], link(option.network ?? 0)];
        if (node === undefined || dev === undefined || option === self) return [];
        const to = `lladdr ${macOf(option.number)} dev ${dev} nud permanent`;
        return [node.address4, node.address6].map((address) => `neigh replace ${address} ${to}\n`);
      })
      .join("");
  await router.output("ip", ["-batch", "-"], { input: lines((network) => `br${network}`) });
  for (const [at, { sandbox }] of nodes.entries()) {
    const self = options[at];
    const own = self?.network ?? 0;
    const gateway = ["4", "6"].map((family) => {
      const address = family === "4" ? `10.7${7 + own}.0.1` : `fd7${7 + own}::1`;
      return `neigh replace ${address} lladdr 02:77:00:00:0${own}:01 dev eth0 nud permanent\n`;
    });
    const peers = lines((network) => (network === own ? "eth0" : undefined), self);
    await sandbox.output("ip", ["-batch", "-"], { input: `${peers}${gateway.join("")}` });
  }
}

/** Gives a node a bridge with one pod, as the plugins would. @returns the pod's namespace. */
export async function addFabricPod<Pod>(
  { sandbox }: { readonly sandbox: PodHost<Pod> },
  pod: { readonly name: string; readonly addresses: readonly PodAddress[]; readonly mtu: number },
) {
  const { name, addresses, mtu } = pod;
  const namespace = await sandbox.addPod(name);
  const perAddress = addresses.map(
    ({ address, gateway, prefix }) => `
      ip address replace ${gateway}/${prefix} dev cni0
      ip -n ${name} address add ${address}/${prefix} dev eth0 ${address.includes(":") ? "nodad" : ""}
      ip -n ${name} ${address.includes(":") ? "-6" : ""} route add default via ${gateway}
    `,
  );
  await sandbox.sh(`
    ip link show cni0 > /dev/null 2>&1 || ip link add cni0 type bridge
    echo 0 > /proc/sys/net/ipv6/conf/cni0/accept_dad
    ip link set cni0 up
    ip link add veth-${name} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${name}
    ip link set veth-${name} master cni0 up
    ip -n ${name} link set lo up
    ip -n ${name} link set eth0 up
    ${perAddress.join("")}
  `);
  return namespace;
}

/** Where a pod can be made. */
interface PodHost<Pod> {
  readonly addPod: (name: string) => Promise<Pod>;
  readonly sh: (script: string) => Promise<string>;
}

interface PodAddress {
  readonly address: string;
  readonly gateway: string;
  readonly prefix: number;
}

/** Nodes in a virtual machine, with an etcd on their router. */
import { setTimeout } from "node:timers/promises";
import { binDir } from "../executables.ts";
import { addFabricPod } from "../../lab/fabric.ts";
import { pathOf } from "../../lab/requirements.ts";
import { startVm, type Vm, type VmNamespace, type VmNode } from "../../lab/vm.ts";
import {
  netConfOf,
  networksOf,
  podAddresses,
  podMtu,
  type BackendLab,
  type BackendNode,
} from "./lab.ts";
import type { BackendRow } from "./rows.ts";

const flanneld = "/opt/ours/flanneld";
const etcdUrl = "http://10.77.0.1:2379";
const limitMs = 120_000;

const paths = (...names: readonly string[]) => names.map((name) => pathOf(name) ?? name);

/** Boots a virtual machine that has what {@link createVmLab} needs. */
export async function startBackendVm(): Promise<Vm> {
  return startVm({
    "/opt/ours": [`${binDir()}/flanneld`],
    "/opt/etcd": paths("etcd", "etcdctl"),
    "/bin": paths("nft"),
  });
}

/** Makes nodes that run flanneld with a backend, each with a pod, and waits until they are ready. */
export async function createVmLab(vm: Vm, row: BackendRow): Promise<BackendLab> {
  const router = await vm.createNode();
  const dispose = async (): Promise<void> => {
    await router.sh(
      "kill -9 $(cat /run/*.pid) || true; rm -rf /run/etcd* /run/n? /run/n?.* /run/pings*",
    );
    await router[Symbol.asyncDispose]();
  };
  try {
    await makeRouter(router);
    const configure = async (backend: BackendRow["backend"]): Promise<void> => {
      await untilSo(router, async () => {
        const conf = netConfOf({ ...row, backend });
        const put = await etcdctl(router, "put /coreos.com/network/config", conf);
        return put.includes("OK");
      });
    };
    await configure(row.backend);
    const nodes: BackendNode[] = [];
    for (const [at, network] of networksOf(row).entries()) {
      nodes.push(await addNode(router, at + 1, network, row));
    }
    const lab: BackendLab = {
      ...{ nodes, store: "etcd", pingInterval: 20, configure },
      [Symbol.asyncDispose]: dispose,
    };
    await row.prepare?.(lab);
    for (const { start } of nodes) await start();
    return lab;
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function makeRouter(router: VmNode): Promise<void> {
  await router.sh(`
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    for network in 77 78; do
      ip link add br$network type bridge
      ip address add 10.$network.0.1/24 dev br$network
      ip address add fd$network::1/64 dev br$network nodad
      ip link set br$network up
    done
    /opt/etcd/etcd --data-dir /run/etcd --listen-client-urls ${etcdUrl} \
      --advertise-client-urls ${etcdUrl} --listen-peer-urls http://127.0.0.1:2380 \
      --initial-advertise-peer-urls http://127.0.0.1:2380 \
      --initial-cluster default=http://127.0.0.1:2380 > /run/etcd.log 2>&1 < /dev/null &
    echo $! > /run/etcd.pid
  `);
}

async function etcdctl(router: VmNode, command: string, value?: object): Promise<string> {
  const text = value === undefined ? "" : `'${JSON.stringify(value)}'`;
  const env = `ETCDCTL_API=3 ETCDCTL_ENDPOINTS=${etcdUrl}`;
  return router.sh(`${env} /opt/etcd/etcdctl ${command} ${text} 2>&1 || true`);
}

async function addNode(
  router: VmNode,
  number: number,
  network: 0 | 1,
  row: BackendRow,
): Promise<BackendNode> {
  const name = `n${number}`;
  const folder = `/run/${name}`;
  const bridge = 77 + network;
  const node = await router.addPod(name);
  await router.sh(`
    ip link add v${number} type veth peer name eth0 netns ${name}
    ip link set v${number} master br${bridge} up
  `);
  await node.sh(`
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    ip address add 10.${bridge}.0.1${number}/24 dev eth0
    ip address add fd${bridge}::1${number}/64 dev eth0 nodad
    ip link set lo up
    ip link set eth0 up
    ip route add default via 10.${bridge}.0.1
    ip -6 route add default via fd${bridge}::1
    mkdir -p ${folder}
  `);
  // It keeps the subnet that it finds there.
  const files = subnetFileText(number, row);
  await node.sh(`printf '${files}' > ${folder}/subnet.env`);
  const sandbox = { sh: node.sh, addPod: async (pod: string) => router.addPod(pod) };
  const pod: VmNamespace = await addFabricPod(
    { sandbox },
    { name: `p${number}`, mtu: podMtu, addresses: podAddresses(number, row) },
  );
  return { number, ...actionsOf(router, node, { name, folder }), pod: pod.sh };
}

/** subnet.env of an earlier life. */
function subnetFileText(number: number, { families }: BackendRow): string {
  const lines = [
    ...["FLANNEL_NETWORK=10.244.0.0/16", `FLANNEL_SUBNET=10.244.${number}.1/24`],
    ...(families.includes(6)
      ? ["FLANNEL_IPV6_NETWORK=fd00:244::/48", `FLANNEL_IPV6_SUBNET=fd00:244:0:${number}::1/64`]
      : []),
    ...["FLANNEL_MTU=1400", "FLANNEL_IPMASQ=false"],
  ];
  return lines.map((line) => String.raw`${line}\n`).join("");
}

function actionsOf(
  router: VmNode,
  node: VmNamespace,
  { name, folder }: { readonly name: string; readonly folder: string },
) {
  const [subnetFile, log, pid] = [`${folder}/subnet.env`, `/run/${name}.log`, `/run/${name}.pid`];
  const flags = `-etcd-endpoints=${etcdUrl} -iface=eth0 -iptables-forward-rules=false -healthz-port=8081`;
  const keyFile = `WIREGUARD_KEY_FILE=${folder}/wgkey`;
  const readLog = async () => node.sh(`tail -n 30 ${log}`);
  return {
    sh: node.sh,
    subnetFile,
    log: readLog,
    async start() {
      await node.sh(`
        ${keyFile} ${flanneld} ${flags} -subnet-file=${subnetFile} \
          >> ${log} 2>&1 < /dev/null &
        echo $! > ${pid}
      `);
      await untilSo(node, async () => {
        const ready = await node.sh("wget -q -O - http://127.0.0.1:8081/readyz 2>&1 || true");
        return ready.startsWith("flanneld is ready");
      });
    },
    async end(signal: "SIGTERM" | "SIGKILL") {
      await node.sh(`
        kill -${signal.slice(3)} $(cat ${pid}) 2>/dev/null || true
        while kill -0 $(cat ${pid}) 2>/dev/null; do sleep 0.1; done
      `);
    },
    async cleanup() {
      await node.sh(`${keyFile} ${flanneld} -subnet-file=${subnetFile} cleanup`);
    },
    async told() {
      const key = `/coreos.com/network/subnets/10.244.${name.slice(1)}.0-24`;
      const text = await etcdctl(router, `get --prefix ${key}`);
      return text.trim().split("\n")[1] ?? "";
    },
  };
}

/** In an emulated machine everything takes its time. */
async function untilSo({ sh }: VmNamespace, check: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await check())) {
    if (performance.now() > end) {
      throw new Error(`It has not come true:\n${await sh("tail -n 20 /run/*.log")}`);
    }
    await setTimeout(200);
  }
}

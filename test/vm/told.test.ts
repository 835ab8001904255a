/**
 * What flanneld tells the Kubernetes API, etcd and the plugin with the backends that this machine's kernel
 * may lack, beside what the Go flanneld 0.28 tells with the same config.
 */
import { fileURLToPath } from "node:url";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { binDir } from "../helpers/executables.ts";
import { prefix } from "../helpers/flanneld_nodes.ts";
import { toldByGo, withoutIdentity } from "../helpers/told.ts";
import { pathOf } from "../lab/requirements.ts";
import { startVm, vmProblem, type Vm, type VmNode } from "../lab/vm.ts";

const [api, etcd] = ["http://127.0.0.1:6443", "http://127.0.0.1:2379"];
const peers = "http://127.0.0.1:2380";
const limit = 120_000;
const dualStack = { EnableIPv6: true, IPv6Network: "fd00:244::/48" };
const configs: Readonly<Record<string, object>> = {
  ipip: { Backend: { Type: "ipip" } },
  wireguard: { Backend: { Type: "wireguard" } },
  "wireguard-dual": {
    ...dualStack,
    Backend: { Type: "wireguard", ListenPort: 7, ListenPortV6: 8 },
  },
  "wireguard-auto": { ...dualStack, Backend: { Type: "wireguard", Mode: "auto" } },
};

let vm: Vm | undefined;
let node: VmNode | undefined;
let problem: string | undefined;
beforeAll(async () => {
  problem = await vmProblem();
  if (problem !== undefined) {
    console.warn(`What is told is not tested: ${problem}`);
    return;
  }
  vm = await startVm({
    "/bin": [pathOf("nft") ?? "nft"],
    "/opt/ours": [`${binDir()}/flanneld`],
    "/opt/etcd": ["etcd", "etcdctl"].map((name) => pathOf(name) ?? name),
    "/opt/lab": [process.execPath, fileURLToPath(import.meta.resolve("../lab/kube_api.ts"))],
  });
  node = await vm.createNode();
  await node.sh(`
    ip link add eth0 type veth peer name cable
    ip address add 10.77.0.11/24 dev eth0
    ip address add fd77::11/64 dev eth0 nodad
    ip link set eth0 up
    ip link set cable up
    mkfifo /run/api
    sleep 10000 > /run/api 2> /dev/null < /dev/null &
    /opt/lab/node /opt/lab/kube_api.ts '{"host":"127.0.0.1","port":6443}' \
      < /run/api > /run/api.log 2>&1 &
    /opt/etcd/etcd --data-dir /run/etcd --listen-client-urls ${etcd} \
      --advertise-client-urls ${etcd} --listen-peer-urls ${peers} \
      --initial-advertise-peer-urls ${peers} --initial-cluster default=${peers} > /run/etcd.log 2>&1 < /dev/null &
  `);
}, 300_000);
afterAll(async () => vm?.[Symbol.asyncDispose]());

/** In an emulated machine everything takes its time. */
async function whenPrinted({ sh }: VmNode, script: string, expected: string): Promise<string> {
  let text = "";
  for (const end = performance.now() + limit; performance.now() < end; ) {
    text = await sh(`{ ${script}; } 2>&1 || true`);
    if (text.includes(expected)) return text;
    await setTimeout(200);
  }
  throw new Error(
    `${expected} was not printed, but ${text}:\n${await sh("tail -n 20 /run/*.log")}`,
  );
}

/** Runs flanneld until a script prints something. @returns what that prints, and subnet.env. */
async function told(on: VmNode, words: string, script: string, expected: string) {
  const flags = "-iface=eth0 -iptables-forward-rules=false -subnet-file=/run/told/subnet.env";
  await on.sh(`
    rm -rf /run/told
    mkdir /run/told
    NODE_NAME=n1 WIREGUARD_KEY_FILE=/run/told/wgkey /opt/ours/flanneld ${flags} ${words} \
      > /run/flanneld.log 2>&1 < /dev/null &
    echo $! > /run/flanneld.pid
  `);
  try {
    const text = await whenPrinted(on, script, expected);
    const subnetEnv = await whenPrinted(on, "cat /run/told/subnet.env", "IPMASQ");
    return { text, subnetEnv: subnetEnv.trim().split("\n") };
  } finally {
    await on.sh(`
      kill -9 $(cat /run/flanneld.pid)
      for link in flannel.ipip flannel-wg flannel-wg-v6; do ip link delete $link || true; done
    `);
  }
}

/** In the Modes with one device the Go program publishes a port where nothing listens. */
function withDevicePort(text: string, name: string): string {
  return name === "wireguard-auto" ? text.replace("51821", "51820") : text;
}

test.for(Object.keys(configs))(
  "the Kubernetes API: %s",
  { timeout: 2 * limit },
  async (name, { skip }) => {
    if (node === undefined) return skip(problem);
    const golden = toldByGo(name);
    const conf = JSON.stringify({
      Network: "10.244.0.0/16",
      EnableNFTables: true,
      ...configs[name],
    });
    const spec = {
      podCIDRs: ["10.244.1.0/24", "fd00:244:0:1::/64"].slice(0, conf.includes("IPv6") ? 2 : 1),
    };
    await whenPrinted(node, "cat /run/api.log", "ready");
    for (const [method, ...args] of [
      ["deleteNode", "n1"],
      ["setNode", "n1", spec],
    ]) {
      await node.sh(`echo '${JSON.stringify({ method, args })}' > /run/api`);
    }
    await node.sh(`echo '${conf}' > /run/net-conf.json`);
    const words = `-kube-subnet-mgr -kube-api-url=${api} -net-config-path=/run/net-conf.json`;
    const { text, subnetEnv } = await told(
      ...([node, words, `wget -q -O - ${api}/api/v1/nodes/n1`, "FlannelIsUp"] as const),
    );
    const { metadata } = JSON.parse(text) as { metadata: { annotations: Record<string, string> } };
    const annotations = Object.entries(metadata.annotations).flatMap(([key, value]) =>
      key.startsWith(prefix) ? [[key.slice(prefix.length), withoutIdentity(value)]] : [],
    );
    const { "backend-v6-data": dataV6 } = golden.annotations;
    expect(Object.fromEntries(annotations)).toEqual({
      ...golden.annotations,
      ...(dataV6 === undefined ? {} : { "backend-v6-data": withDevicePort(dataV6, name) }),
    });
    expect(subnetEnv).toEqual(golden.subnetEnv);
  },
);

test.for(Object.keys(configs))("etcd: %s", { timeout: 2 * limit }, async (name, { skip }) => {
  if (node === undefined) return skip(problem);
  const etcdctl = `ETCDCTL_API=3 /opt/etcd/etcdctl --endpoints=${etcd}`;
  const conf = JSON.stringify({ Network: "10.244.0.0/16", EnableNFTables: true, ...configs[name] });
  await whenPrinted(node, `${etcdctl} del --prefix /`, "");
  await whenPrinted(node, `${etcdctl} put /coreos.com/network/config '${conf}'`, "OK");
  const get = `${etcdctl} get --prefix --print-value-only /coreos.com/network/subnets/`;
  const { text } = await told(node, `-etcd-endpoints=${etcd}`, get, "PublicIP");
  expect(withoutIdentity(text.trim())).toBe(withDevicePort(toldByGo(name).etcd ?? "", name));
});

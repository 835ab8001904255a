/** The backend ipip, in a virtual machine with one of Debian's kernels: three nodes, one behind a router. */
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { binDir } from "../helpers/executables.ts";
import { pathOf } from "../lab/requirements.ts";
import { startVm, vmProblem, type Vm, type VmNode } from "../lab/vm.ts";

let vm: Vm | undefined;
let problem: string | undefined;
beforeAll(async () => {
  const etcd = ["etcd", "etcdctl"].map((name) => pathOf(name) ?? name);
  problem = await vmProblem();
  if (problem !== undefined) console.warn(`ipip is not tested: ${problem}`);
  else vm = await startVm({ "/opt/ours": [`${binDir()}/flanneld`], "/opt/etcd": etcd });
}, 300_000);
afterAll(async () => vm?.[Symbol.asyncDispose]());

const conf = {
  ...{ Network: "10.244.0.0/16", EnableNFTables: true },
  Backend: { Type: "ipip", DirectRouting: true },
};
const addresses = { n1: "10.77.0.11", n2: "10.77.0.12", n3: "10.78.0.13" };
type Name = keyof typeof addresses;
const names = ["n1", "n2", "n3"] as const;

/** Nodes n1 to n3 with a pod each, p1 to p3, and a router with etcd. */
async function makeNodes(node: VmNode): Promise<void> {
  for (const name of [...names, "p1", "p2", "p3"]) await node.addPod(name);
  await node.sh(`
    echo 1 > /proc/sys/net/ipv4/ip_forward
    for network in 77 78; do
      ip link add br$network type bridge
      ip address add 10.$network.0.1/24 dev br$network
      ip link set br$network up
    done
    for number in 1 2 3; do
      network=77; [ $number != 3 ] || network=78
      ip link add v$number type veth peer name eth0 netns n$number
      ip link set v$number master br$network up
      ip -n n$number address add 10.$network.0.1$number/24 dev eth0
      ip -n n$number link set eth0 up
      ip -n n$number link set lo up
      ip -n n$number route add default via 10.$network.0.1
      nsenter --net=/run/netns/n$number sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
    done
    /opt/etcd/etcd --data-dir /run/etcd --listen-client-urls http://10.77.0.1:2379 \
      --advertise-client-urls http://10.77.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 \
      --initial-advertise-peer-urls http://127.0.0.1:2380 \
      --initial-cluster default=http://127.0.0.1:2380 > /run/etcd.log 2>&1 < /dev/null &
  `);
  await until(
    node,
    "etcd",
    async () => (await etcdctl(node, "put /coreos.com/network/config", conf)) !== "",
  );
}

async function etcdctl(node: VmNode, command: string, value?: object): Promise<string> {
  const text = value === undefined ? "" : `'${JSON.stringify(value)}'`;
  const env = "ETCDCTL_API=3 ETCDCTL_ENDPOINTS=http://10.77.0.1:2379";
  return node.sh(`${env} /opt/etcd/etcdctl ${command} ${text} || true`);
}

async function startFlanneld(node: VmNode, name: Name): Promise<void> {
  const flags = "-etcd-endpoints=http://10.77.0.1:2379 -iface=eth0 -iptables-forward-rules=false";
  await node.sh(`
    nsenter --net=/run/netns/${name} /opt/ours/flanneld ${flags} \
      -subnet-file=/run/${name}/subnet.env >> /run/${name}.log 2>&1 < /dev/null &
    echo $! > /run/${name}.pid
  `);
}

/** The third number of a node's subnet; "" before it has one. */
async function subnetOf(node: VmNode, name: Name): Promise<string> {
  const text = await node.sh(`ip -n ${name} -o -4 address show dev flannel.ipip || true`);
  return /inet 10\.244\.(\d+)\.0\/32/.exec(text)?.[1] ?? "";
}

async function routesOf(node: VmNode, name: Name): Promise<string[]> {
  const text = await node.sh(`ip -n ${name} route show proto 70`);
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .toSorted();
}

async function until(node: VmNode, what: string, check: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 120_000;
  while (!(await check())) {
    if (performance.now() > end) {
      throw new Error(`${what} has not come true:\n${await node.sh("tail -n 20 /run/*.log")}`);
    }
    await setTimeout(200);
  }
}

async function ping(node: VmNode, to: string, ...words: string[]): Promise<string> {
  const text = words.join(" ");
  return node.sh(
    `nsenter --net=/run/netns/p1 ping -n -c 1 -W 5 ${text} 10.244.${to}.2 2>&1 || true`,
  );
}

test("connects pods, and keeps them connected", { timeout: 500_000 }, async ({ skip }) => {
  if (vm === undefined) return skip(problem);
  await using node = await vm.createNode();
  await makeNodes(node);
  for (const name of names) await startFlanneld(node, name);
  for (const name of names) {
    await until(node, `the subnet of ${name}`, async () => (await subnetOf(node, name)) !== "");
    await until(
      node,
      `the routes of ${name}`,
      async () => (await routesOf(node, name)).length === 2,
    );
  }
  const [first, second, third] = [
    await subnetOf(node, "n1"),
    await subnetOf(node, "n2"),
    await subnetOf(node, "n3"),
  ];
  for (const [at, subnet] of [first, second, third].entries()) {
    await node.sh(`
      ip -n n${at + 1} link add veth type veth peer name eth0 netns p${at + 1}
      ip -n n${at + 1} address add 10.244.${subnet}.1/24 dev veth
      ip -n n${at + 1} link set veth up
      ip -n p${at + 1} address add 10.244.${subnet}.2/24 dev eth0
      ip -n p${at + 1} link set eth0 up
      ip -n p${at + 1} route add default via 10.244.${subnet}.1
    `);
  }

  // As flannel publishes it.
  const entry = await etcdctl(node, `get /coreos.com/network/subnets/10.244.${first}.0-24`);
  expect(entry.trim().split("\n")[1]).toBe(
    '{"PublicIP":"10.77.0.11","PublicIPv6":null,"BackendType":"ipip"}',
  );
  const routes = [
    `10.244.${second}.0/24 via 10.77.0.12 dev eth0`,
    `10.244.${third}.0/24 via 10.78.0.13 dev flannel.ipip onlink`,
  ].toSorted();
  expect(await routesOf(node, "n1")).toEqual(routes);
  const link = await node.sh("ip -n n1 -d link show flannel.ipip");
  expect(link).toMatch(/mtu 1480 [^]* remote any local 10\.77\.0\.11 /);

  expect(await ping(node, second)).toContain("ttl=62");
  expect(await ping(node, third)).toContain("ttl=62");
  expect(await ping(node, third, "-M do -s 1452")).toContain("ttl=62");
  expect(await ping(node, third, "-M do -s 1453")).toMatch(/mtu ?= ?1480/);

  for (const drift of [
    "link delete flannel.ipip",
    "link set flannel.ipip down",
    "address flush dev flannel.ipip",
    `route delete 10.244.${third}.0/24`,
    "link set flannel.ipip mtu 1300",
  ]) {
    await node.sh(`ip -n n1 ${drift}`);
    await until(node, `the repair after ${drift}`, async () => {
      const isWhole = (await routesOf(node, "n1")).join() === routes.join();
      const now = await node.sh("ip -n n1 -d link show flannel.ipip || true");
      return isWhole && now.includes("mtu 1480") && (await ping(node, third)).includes("ttl=62");
    });
  }

  // Pods go on while it is killed, and its next start changes nothing.
  const before = await node.sh("ip -n n1 -o link show flannel.ipip");
  await node.sh("kill -9 $(cat /run/n1.pid)");
  expect(await ping(node, third)).toContain("ttl=62");
  await startFlanneld(node, "n1");
  await until(node, "the second start", async () =>
    (await node.sh("grep -c 'subnet is' /run/n1.log")).startsWith("2"),
  );
  expect(await ping(node, third)).toContain("ttl=62");
  expect(await node.sh("ip -n n1 -o link show flannel.ipip")).toBe(before);
  expect(await routesOf(node, "n1")).toEqual(routes);

  await node.sh("kill $(cat /run/n1.pid /run/n2.pid /run/n3.pid); sleep 1");
  await node.sh(
    "nsenter --net=/run/netns/n1 /opt/ours/flanneld -subnet-file=/run/n1/subnet.env cleanup || true",
  );
  expect(await node.sh("ip -n n1 link show flannel.ipip 2>&1 || true")).toContain("does not exist");
  expect(await routesOf(node, "n1")).toEqual([]);
});

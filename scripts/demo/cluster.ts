/** Three nodes that flanneld joins, with leases in etcd: pods on each, one node leaves, another comes. */
import { join } from "node:path";
import { eventually } from "../../test/lab/eventually.ts";
import { cniOk, type CniJson } from "../../test/lab/cni.ts";
import { runConflist } from "../../test/lab/conflist.ts";
import { createFabric, type Fabric, type FabricNode } from "../../test/lab/fabric.ts";
import type { Namespace } from "../../test/lab/namespace.ts";
import type { Sandbox } from "../../test/lab/sandbox.ts";
import { CHAIN, CNI_BIN, CONFLIST, installPlugins } from "./node.ts";
import type { Report } from "./report.ts";

/** How addresses in the cluster's network begin. */
export const CLUSTER_NETWORKS = ["10.213.", "fd00:10:213:"] as const;

const NET_CONF = JSON.stringify({
  Network: "10.213.0.0/16",
  EnableIPv6: true,
  IPv6Network: "fd00:10:213::/48",
  Backend: { Type: "vxlan" },
});
const ETCD = "http://10.77.0.1:2379";
const PREFIX = "/coreos.com/network";
/** Those to peers, of both families. */
const COUNT_ROUTES =
  "{ ip route show dev flannel.1; ip -6 route show dev flannel-v6.1; } | grep -c via";
/** Milliseconds: what flanneld does takes a hundredth of that, on a machine that is not busy. */
const patience = 20_000;

const SERVER = `
  require("node:http").createServer((request, response) => response.end(process.argv[1]))
    .listen(80, "::", () => console.log("ready"));
  process.stdin.resume().on("end", () => process.exit());
`;
const CLIENT = `
  fetch(process.argv[1], { signal: AbortSignal.timeout(4000) })
    .then(async (response) => console.log(response.status, await response.text()));
`;

interface Member {
  readonly node: FabricNode;
  readonly pod: Namespace;
  readonly addresses: readonly string[];
  readonly result: CniJson;
}

/** @param onFabric told of what has to be closed if the demonstration is stopped. */
export async function showCluster(
  report: Report,
  bin: string,
  onFabric: (fabric: Fabric) => void,
): Promise<void> {
  report.heading("Three nodes, joined by flanneld");
  const numbers = [1, 2, 3, 4];
  const fabric = await report.step(
    "nodes on a network",
    async () => createFabric(numbers.map((number) => ({ name: `node${number}`, number }))),
    () => "each with a network, mounts and processes of its own",
  );
  onFabric(fabric);
  try {
    await showNodes(report, bin, fabric);
  } finally {
    await fabric.close();
  }
}

async function showNodes(report: Report, bin: string, { router, nodes }: Fabric): Promise<void> {
  await report.step(
    "etcd",
    async () => startEtcd(router),
    () => `with the config under ${PREFIX}/config`,
  );
  const members: Member[] = [];
  for (const node of nodes.slice(0, 3)) members.push(await joinNode(report, bin, node));
  await showTraffic(report, members);
  const [first, , third] = members;
  const last = nodes[3];
  if (first === undefined || third === undefined || last === undefined) return;

  report.heading("One node leaves, another joins");
  await leave(report, router, third, first.node);
  const joined = await joinNode(report, bin, last);
  await showPings(report, first, joined);
  await showPings(report, joined, first);

  report.heading("All is taken away");
  for (const member of [...members.slice(0, 2), joined]) await clear(report, bin, member);
}

/** Its data is on the sandbox's own tmpfs, and it ends with the sandbox. */
async function startEtcd(router: Sandbox): Promise<void> {
  await router.sh(`
    etcd --data-dir /run/etcd --listen-client-urls ${ETCD} --advertise-client-urls ${ETCD} \\
      --listen-peer-urls http://127.0.0.1:2380 > /run/etcd.log 2>&1 < /dev/null &
  `);
  const put = async () =>
    router.exec("etcdctl", [`--endpoints=${ETCD}`, "put", `${PREFIX}/config`, NET_CONF], {
      env: { ETCDCTL_API: "3" },
    });
  const { exitCode, stderr } = await eventually(put, (made) => made.exitCode === 0, patience);
  if (exitCode !== 0) throw new Error(`etcd does not answer: ${stderr}`);
}

async function joinNode(report: Report, bin: string, node: FabricNode): Promise<Member> {
  const { name, sandbox } = node;
  await report.step(
    `${name}: flanneld`,
    async () => {
      const flags = `--etcd-endpoints=${ETCD} --iface=eth0 --ip-masq`;
      await sandbox.sh(`
        ${join(bin, "flanneld")} ${flags} > /run/flanneld.log 2>&1 < /dev/null &
        echo $! > /run/flanneld.pid
      `);
      return subnetsOf(sandbox);
    },
    (subnets) => subnets.join("  "),
  );
  await installPlugins(sandbox, bin);
  const pod = await sandbox.addPod("pod");
  const result = await report.step(
    `${name}: a pod by ${CHAIN.join(" + ")}`,
    async () => {
      const attachment = { containerId: "pod", netns: pod.netnsPath };
      const conf = { cniVersion: CONFLIST.cniVersion, name: "cni-loopback", type: "loopback" };
      const loopback = { bin, plugin: "loopback", command: "ADD", ifname: "lo", conf } as const;
      await cniOk(sandbox, { ...loopback, ...attachment });
      return runConflist(sandbox, { ...conflistOf(pod), command: "ADD" });
    },
    ({ ips = [] }) => ips.map(({ address }) => address).join("  "),
  );
  const addresses = (result.ips ?? []).map(({ address }) => address.split("/")[0] ?? "");
  return { node, pod, addresses, result };
}

function conflistOf(pod: Namespace) {
  return { bin: CNI_BIN, conflist: CONFLIST, containerId: "pod", netns: pod.netnsPath };
}

async function subnetsOf(sandbox: Sandbox): Promise<readonly string[]> {
  const look = async () => sandbox.exec("cat", ["/run/flannel/subnet.env"]);
  const { exitCode, stdout } = await eventually(look, (env) => env.exitCode === 0, patience);
  if (exitCode !== 0) throw new Error(await sandbox.sh("cat /run/flanneld.log"));
  return [...stdout.matchAll(/_SUBNET=(.*)/g)].map(([, subnet = ""]) => subnet);
}

async function showTraffic(report: Report, members: readonly Member[]): Promise<void> {
  for (const from of members) {
    for (const to of members) if (to !== from) await showPings(report, from, to);
  }
  const [first, second] = members;
  if (first === undefined || second === undefined) return;
  const server = await second.pod.start(process.execPath, ["-e", SERVER, second.node.name]);
  for (const address of second.addresses) {
    const url = `http://${address.includes(":") ? `[${address}]` : address}/`;
    await report.step(
      `${first.node.name} → ${second.node.name} by HTTP`,
      async () => {
        const answer = await first.pod.output(process.execPath, ["-e", CLIENT, url]);
        if (answer.trim() !== `200 ${second.node.name}`)
          throw new Error(`${url} answers: ${answer}`);
      },
      () => `${url} answers with 200`,
    );
  }
  await server.stop();
}

async function showPings(report: Report, from: Member, to: Member): Promise<void> {
  await report.step(
    `${from.node.name} → ${to.node.name}`,
    async () => {
      for (const address of to.addresses) {
        // A route is there as soon as the peer's lease is known, milliseconds later.
        const ping = async () => from.pod.ping(address);
        if (!(await eventually(ping, Boolean, patience))) throw new Error(`no answer: ${address}`);
      }
    },
    () => `${to.addresses.join("  ")} answer`,
  );
}

async function leave(
  report: Report,
  router: Sandbox,
  { node, pod, result }: Member,
  peer: FabricNode,
): Promise<void> {
  const routes = async () => Number(await peer.sandbox.sh(COUNT_ROUTES));
  const before = await routes();
  await report.step(
    `${node.name} leaves`,
    async () => {
      await runConflist(node.sandbox, { ...conflistOf(pod), command: "DEL", prevResult: result });
      await end(node.sandbox);
      const subnets = await router.output(
        "etcdctl",
        [`--endpoints=${ETCD}`, "get", "--prefix", "--keys-only", `${PREFIX}/subnets/`],
        { env: { ETCDCTL_API: "3" } },
      );
      const [own = ""] = await subnetsOf(node.sandbox);
      const network = own.replace(/1\/24$/, "0-24");
      const key = subnets.split("\n").find((line) => line.includes(network)) ?? "";
      await router.output("etcdctl", [`--endpoints=${ETCD}`, "del", key], {
        env: { ETCDCTL_API: "3" },
      });
      const left = await eventually(routes, (now) => now === before - 2, patience);
      if (left !== before - 2) throw new Error(`${peer.name} still has ${left} routes`);
    },
    () => `${peer.name} has no route there any more`,
  );
}

/** Ends flanneld, which leaves what it has made. */
async function end(sandbox: Sandbox): Promise<void> {
  await sandbox.sh("kill $(cat /run/flanneld.pid)");
  const look = async () =>
    sandbox.exec("sh", ["-c", "grep -q . /proc/$(cat /run/flanneld.pid)/cmdline"]);
  await eventually(look, ({ exitCode }) => exitCode !== 0, patience);
}

async function clear(report: Report, bin: string, { node, pod, result }: Member): Promise<void> {
  const { name, sandbox } = node;
  await report.step(
    `${name}: DEL, flanneld cleanup`,
    async () => {
      await runConflist(sandbox, { ...conflistOf(pod), command: "DEL", prevResult: result });
      await end(sandbox);
      await sandbox.output(join(bin, "flanneld"), ["cleanup"]);
      const left = await sandbox.sh(
        "ip -o link show type vxlan; ip route show proto 70; ls /run/flannel",
      );
      if (left.trim() !== "") throw new Error(`this is left:\n${left}`);
    },
    () => "no device, no route, no subnet.env",
  );
}

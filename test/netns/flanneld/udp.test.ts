/** What the backend udp has beyond the suite of all backends (backends.test.ts). */
import { expect, test } from "vitest";
import { until, type Daemon } from "../../helpers/flanneld.ts";
import {
  createKubeNodes,
  prefix,
  startOnKube,
  subnetEnv,
  whenReady,
  type KubeNodes,
} from "../../helpers/flanneld_nodes.ts";
import { isBun } from "../../helpers/form.ts";
import { addFabricPod, type FabricNode } from "../../lab/fabric.ts";
import type { Namespace } from "../../lab/namespace.ts";

const conf = { Backend: { Type: "udp" } };

async function start(node: FabricNode, number: number, cluster: KubeNodes): Promise<Daemon> {
  await cluster.api.call("setNode", node.name, { podCIDRs: [`10.244.${number}.0/24`] });
  return startOnKube(node, "-ip-masq=false");
}

async function addPod(node: FabricNode, number: number): Promise<Namespace> {
  return addFabricPod(node, {
    ...{ name: "pod", mtu: 1472 },
    addresses: [{ address: `10.244.${number}.2`, gateway: `10.244.${number}.1`, prefix: 24 }],
  });
}

/** What there is of the device, without its index. It may be made at this moment. */
async function deviceOf({ sandbox }: FabricNode): Promise<string> {
  return sandbox.sh(`
    ip -d -o link show flannel0 | sed -E 's/.*(<[A-Z,_]*>) (mtu [0-9]+).*(persist [a-z]+).*/\\1 \\2 \\3/'
    ip -o -4 address show dev flannel0 | grep -oE 'inet [0-9./]+' || true
    ip route show dev flannel0 || true
    cat /proc/sys/net/ipv6/conf/flannel0/accept_ra || true
  `);
}

test.runIf(isBun)("connects pods, and is what flannel's is", async () => {
  await using cluster = await createKubeNodes(2, conf);
  const [first, second] = [cluster.node(1), cluster.node(2)];
  const daemon = await start(first, 1, cluster);
  const peer = await start(second, 2, cluster);
  await Promise.all([whenReady(first, daemon), whenReady(second, peer)]);
  const pod = await addPod(first, 1);
  await addPod(second, 2);

  const annotations = (await cluster.api.call("node", "n1"))?.metadata.annotations ?? {};
  expect(annotations).toMatchObject({
    [`${prefix}backend-data`]: "null",
    [`${prefix}backend-type`]: "",
    [`${prefix}kube-subnet-manager`]: "true",
    [`${prefix}public-ip`]: "10.77.0.11",
  });
  expect(await subnetEnv(first)).toContain("FLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1472\n");
  const device = await deviceOf(first);
  // Go's is the same, but not persistent, and its route is not marked.
  expect(device.replace(/LOWER_UP|NO-CARRIER/, "")).toMatch(
    /^<POINTOPOINT,MULTICAST,NOARP,UP,> mtu 1472 persist on\ninet 10\.244\.1\.0\/32\n10\.244\.0\.0\/16 proto 70 ?\n0\n$/,
  );

  expect(await pod.ping("10.244.2.2")).toBe(true);
  // Each node's kernel and thread take one off the 64.
  const pings = async (...words: string[]) =>
    (await pod.exec("ping", ["-n", "-c", "1", "-W", "2", ...words])).stdout;
  expect(await pings("10.244.2.2")).toContain("ttl=60");
  expect(await pings("-M", "do", "-s", String(1472 - 28), "10.244.2.2")).toContain("ttl=60");
  expect(await pings("-s", "5000", "10.244.2.2")).toContain("ttl=60");
  // The kernels and threads on the way, of which each tells when the time is over.
  expect(await pings("-t", "1", "10.244.2.2")).toContain("From 10.244.1.1 icmp_seq=1 Time to live");
  expect(await pings("-t", "2", "10.244.2.2")).toContain("From 10.244.2.0 icmp_seq=1 Time to live");
  expect(await pings("-t", "3", "10.244.2.2")).toContain("From 10.244.2.0 icmp_seq=1 Time to live");
  expect(await pings("10.244.9.9")).toContain("From 10.244.9.9 icmp_seq=1 Destination Net Unreach");

  await first.sandbox.sh("ip link set eth0 mtu 1400");
  await until("the MTU", async () => (await deviceOf(first)).includes("mtu 1372"), daemon);
  const isTold = async () => (await subnetEnv(first)).includes("FLANNEL_MTU=1372\n");
  await until("subnet.env's MTU", isTold, daemon);
  expect(
    (await pod.exec("ping", ["-n", "-c", "1", "-M", "do", "-s", "1360", "10.244.2.2"])).stdout,
  ).toMatch(/From 10\.244\.1\.1 icmp_seq=1 Frag needed and DF set \(mtu = 1372\)/);
  await first.sandbox.sh("ip link set eth0 mtu 1500");
  await until("the old MTU", async () => (await deviceOf(first)) === device, daemon);
  const isToldAgain = async () => (await subnetEnv(first)).includes("FLANNEL_MTU=1472\n");
  await until("subnet.env's old MTU", isToldAgain, daemon);

  // What comes while nobody takes it waits in the kernel's queue, and that is short.
  await daemon.whileStopped(async () => {
    await pod.exec("ping", ["-n", "-q", "-l", "2000", "-c", "2000", "-w", "1", "10.244.2.2"]);
  });
  const queue = JSON.parse(await first.sandbox.sh("ip -j -s link show flannel0")) as {
    txqlen: number;
    stats64: { tx: { packets: number; dropped: number } };
  }[];
  expect(queue[0]?.txqlen).toBe(500);
  expect(queue[0]?.stats64.tx.dropped).toBeGreaterThan(1000);
  expect(await pod.ping("10.244.2.2")).toBe(true);

  await cluster.api.call("deleteNode", "n2");
  await until(
    "the removal",
    async () => (await pings("10.244.2.2")).includes("Destination Net Unreach"),
    daemon,
  );
  await Promise.all([daemon.end(), peer.end()]);
});

/** The Internet checksum of bytes in which it is 0 so far. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  return ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
}

/** ICMP's request to echo from one address to another, as an IPv4 packet. */
function echoRequest(from: string, to: string): Buffer {
  const packet = Buffer.alloc(28);
  packet.set([0x45, 0, 0, packet.length, 0, 0, 0, 0, 64, 1]);
  packet.set(from.split(".").map(Number), 12);
  packet.set(to.split(".").map(Number), 16);
  packet.writeUInt16BE(checksum(packet.subarray(0, 20)), 10);
  packet[20] = 8;
  packet.writeUInt16BE(checksum(packet.subarray(20)), 22);
  return packet;
}

/** How many requests to echo have arrived in a pod. */
async function echoRequestsIn({ sh }: Namespace): Promise<number> {
  return Number(/^IcmpInEchos +(\d+)/m.exec(await sh("nstat -asz IcmpInEchos"))?.[1]);
}

test.runIf(isBun)("a pod does not get packets in that name another source", async () => {
  await using cluster = await createKubeNodes(2, conf);
  const [first, second] = [cluster.node(1), cluster.node(2)];
  const daemons = [await start(first, 1, cluster), await start(second, 2, cluster)];
  await Promise.all(daemons.map(async (daemon, at) => whenReady(cluster.node(at + 1), daemon)));
  const [pod, far] = [await addPod(first, 1), await addPod(second, 2)];
  expect(await pod.ping("10.244.2.2")).toBe(true);

  const escaped = [...echoRequest("10.244.2.9", "10.244.1.2")]
    .map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`)
    .join("");
  /** How many of five requests arrive in the pod of node 1. */
  const arrivedFrom = async (sender: Pick<Namespace, "exec">): Promise<number> => {
    const before = await echoRequestsIn(pod);
    for (let at = 0; at < 5; at++) {
      // bash's own printf would send what is before a byte of 10 by itself.
      const script = `printf '${escaped}' > /run/packet; cat /run/packet > /dev/udp/10.77.0.11/8285`;
      expect((await sender.exec("bash", ["-c", script])).exitCode).toBe(0);
    }
    // What comes after them has overtaken none.
    expect(await far.ping("10.244.1.2")).toBe(true);
    return (await echoRequestsIn(pod)) - before - 1;
  };
  // A node may: packets of its pods come so.
  expect(await arrivedFrom(second.sandbox)).toBe(5);
  expect(await arrivedFrom(pod)).toBe(0);
  expect(await arrivedFrom(far)).toBe(0);
  await Promise.all(daemons.map(async (daemon) => daemon.end()));
});

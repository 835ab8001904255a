/** The backend wireguard, in a virtual machine with one of Debian's kernels. */
import { existsSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { binDir } from "../helpers/executables.ts";
import { lostOf, startNodes, type VmCluster, type VmMember } from "../helpers/vm_cluster.ts";
import { pathOf } from "../lab/requirements.ts";
import { startVm, vmProblem, type Vm } from "../lab/vm.ts";

const go = process.env["GO_FLANNELD"] ?? "";
const dualStack = {
  ...{ Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:244::/48" },
  EnableNFTables: true,
};
const psk = Buffer.alloc(32, 9).toString("base64");

let vm: Vm | undefined;
let problem: string | undefined;
beforeAll(async () => {
  problem = await vmProblem();
  if (problem !== undefined) {
    console.warn(`wireguard is not tested: ${problem}`);
    return;
  }
  vm = await startVm({
    "/bin": [pathOf("nft") ?? "nft"],
    "/opt/ours": [`${binDir()}/flanneld`],
    "/opt/etcd": ["etcd", "etcdctl"].map((name) => pathOf(name) ?? name),
    ...(existsSync(go) ? { "/opt/go": [go] } : {}),
  });
}, 300_000);
afterAll(async () => vm?.[Symbol.asyncDispose]());

let started: VmCluster | undefined;
/** The nodes of the test. */
const nodes = (): VmCluster => started ?? expect.fail();
beforeEach(async ({ skip }) => {
  if (vm === undefined) return skip(problem);
  started = await startNodes(vm, 3);
}, 120_000);
afterEach(async () => {
  await started?.[Symbol.asyncDispose]();
  started = undefined;
}, 60_000);

/** An entry without what differs between nodes. */
function shapeOf(entry: string): string {
  return entry.replaceAll(/[A-Za-z0-9+/]{43}=|1[12]"/g, "");
}

/** Waits until nobody needs the device of an earlier backend any more. */
async function whenGone(cluster: VmCluster, { name, sh }: VmMember, device: string): Promise<void> {
  await cluster.until(`the end of ${name}'s ${device}`, async () => {
    const links = await sh("ip link show");
    return !links.includes(device);
  });
}

async function publicKeyOf({ sh }: VmMember): Promise<string> {
  return (await sh("wg show flannel-wg public-key")).trim();
}

async function peersOf({ sh }: VmMember, device = "flannel-wg"): Promise<string[]> {
  const text = await sh(`wg show ${device} peers 2>&1 || true`);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .toSorted();
}

/** What of a device has to be right, in one text. */
async function configOf({ sh }: VmMember): Promise<string> {
  return sh(`
    ip -o link show flannel-wg | sed 's/^[0-9]*: //; s/qlen.*//'
    ip -o address show dev flannel-wg | sed 's/^[0-9]*: //'
    ip route show proto 70
    wg show flannel-wg dump | cut -f 1-4,8 | sort
  `);
}

test("connects pods of both families, and keeps them connected", { timeout: 300_000 }, async () => {
  const cluster = nodes();
  const [n1, n2, n3] = cluster.members;
  const Backend = { Type: "wireguard", PSK: psk };
  await cluster.configure({ ...dualStack, Backend });
  for (const member of cluster.members) await member.start();
  for (const member of cluster.members) await member.whenJoined("flannel-wg");

  // As flannel has it.
  const [key1, key2, key3] = [await publicKeyOf(n1), await publicKeyOf(n2), await publicKeyOf(n3)];
  expect(await n1.entry()).toBe(
    `{"PublicIP":"10.77.0.11","PublicIPv6":"fd77::11","BackendType":"wireguard",` +
      `"BackendData":{"PublicKey":"${key1}","Port":51820},` +
      `"BackendV6Data":{"PublicKey":"${key1}","Port":51821}}`,
  );
  expect(await n1.sh(`stat -c '%a %s' ${n1.folder}/wgkey`)).toBe("400 44\n");
  const secret = await n1.sh(`cat ${n1.folder}/wgkey`);
  expect(await n1.sh("wg show flannel-wg private-key")).toBe(`${secret}\n`);
  const [subnet2, subnet2v6] = [`10.244.${n2.subnet}.0/24`, `fd00:244:0:${n2.subnetV6}::/64`];
  expect(await n1.sh("wg show flannel-wg dump")).toContain(
    `${key2}\t${psk}\t10.77.0.12:51820\t${subnet2}\t`,
  );
  expect(await n1.sh("wg show flannel-wg-v6 dump")).toContain(
    `${key2}\t${psk}\t[fd77::12]:51821\t${subnet2v6}\t`,
  );
  expect(await n1.sh("ip route show proto 70")).toContain(`${subnet2} dev flannel-wg`);
  expect(await n1.sh("ip -6 route show proto 70")).toContain(`${subnet2v6} dev flannel-wg-v6`);
  expect(await n1.sh("ip link show flannel-wg")).toContain("mtu 1420");
  expect(await n1.sh(`cat ${n1.folder}/subnet.env`)).toContain("FLANNEL_MTU=1420");

  for (const address of [n2.pod4, n2.pod6]) {
    expect(await n1.ping(address), address).toContain("ttl=62");
  }
  expect(await n1.ping(n2.pod4, "-M do -s 1392")).toContain("ttl=62");
  expect(await n1.ping(n2.pod4, "-M do -s 1393")).toMatch(/mtu ?= ?1420/);
  expect(await n1.sh("wg show flannel-wg latest-handshakes")).toContain(`${key2}\t1`);

  // A restart interrupts nothing, nor does a kill, and both leave the sessions as they are.
  const before = await configOf(n1);
  const sessions = await n1.sh("wg show flannel-wg latest-handshakes");
  const pings = await n1.startPings(n2.pod4);
  for (const signal of ["TERM", "KILL"]) {
    await n1.end(signal);
    await n1.start();
    await n1.whenJoined("flannel-wg");
  }
  expect(await lostOf(pings), await n1.sh(`cat ${n1.folder}/log ${n2.folder}/log`)).toBe("");
  expect(await configOf(n1)).toBe(before);
  expect(await n1.sh("wg show flannel-wg latest-handshakes")).toBe(sessions);

  // What the kernel tells of is repaired at once; what it does not tell of, with the next look.
  for (const drifts of [
    "ip link delete flannel-wg",
    "ip link set flannel-wg down",
    `ip route delete ${subnet2}; ip link set flannel-wg mtu 1300; ip address flush dev flannel-wg`,
    `wg set flannel-wg listen-port 1 peer ${key2} remove; wg set flannel-wg peer ${key3} allowed-ips 0.0.0.0/0 persistent-keepalive 7; wg set flannel-wg peer ${psk} allowed-ips 10.9.9.9/32`,
    "wg genkey > /run/key; wg set flannel-wg private-key /run/key",
  ]) {
    await n1.sh(drifts);
    await cluster.until(`the repair after ${drifts}`, async () => (await configOf(n1)) === before);
    expect(await n1.ping(n2.pod4, "-W 10"), drifts).toContain("ttl=62");
  }

  // A node that is gone is no peer.
  await n3.end("KILL");
  await n3.deleteEntry();
  await cluster.until("the end of the peer", async () => (await peersOf(n1)).join() === key2);
  expect(await peersOf(n1, "flannel-wg-v6")).toEqual([key2]);

  const status = await n1.flanneld("status");
  const dryRun = await n1.flanneld("-dry-run");
  expect(dryRun).not.toMatch(/Would (?:create|give flannel|set the|delete)/);
  const texts = [status, dryRun, await n1.sh(`cat ${n1.folder}/log`)];
  for (const text of texts) {
    expect(text.length).toBeGreaterThan(40);
    expect(text).not.toContain(secret);
    expect(text).not.toContain(psk);
  }

  await n1.end("TERM");
  expect(await n1.ping(n2.pod4)).toContain("ttl=62");
  await n1.flanneld("cleanup");
  expect(await n1.sh("ip link show; ip route show proto 70")).not.toContain("flannel-wg");
  expect(await n1.sh(`ls ${n1.folder}`)).not.toContain("wgkey");
});

test("has one device for both families in Mode auto", { timeout: 200_000 }, async () => {
  const cluster = nodes();
  const [n1, n2] = cluster.members;
  await cluster.configure({ ...dualStack, Backend: { Type: "wireguard", Mode: "auto" } });
  for (const member of [n1, n2]) await member.start();
  for (const member of [n1, n2]) await member.whenJoined("flannel-wg");
  expect(await n1.sh("wg show flannel-wg dump")).toMatch(
    /\t10\.77\.0\.12:51820\t(?=\S*10\.244\.)(?=\S*fd00:244:)\S+\t/,
  );
  for (const address of [n2.pod4, n2.pod6]) {
    expect(await n1.ping(address), address).toContain("ttl=62");
  }
  expect(await n1.sh("ip link show")).not.toContain("flannel-wg-v6");
});

test("keeps its peers whatever others publish", { timeout: 200_000 }, async () => {
  const cluster = nodes();
  const [n1, n2] = cluster.members;
  const Backend = { Type: "wireguard" };
  await cluster.configure({ ...dualStack, Backend });
  for (const member of [n1, n2]) await member.start();
  for (const member of [n1, n2]) await member.whenJoined("flannel-wg");
  const [key1, key2] = [await publicKeyOf(n1), await publicKeyOf(n2)];
  const [key3, nobodys] = [1, 0].map((byte) => Buffer.alloc(32, byte).toString("base64"));
  const before = await configOf(n1);

  const publish = async (subnet: string, PublicKey: unknown, more: object = {}) =>
    cluster.publish(subnet, {
      ...{ PublicIP: "10.77.0.13", BackendType: "wireguard", BackendData: { PublicKey, Port: 9 } },
      ...more,
    });
  await publish("10.244.20.0-24", "garbage");
  await publish("10.244.21.0-24", "A".repeat(50_000));
  await publish("10.244.22.0-24", key1);
  await publish("10.244.23.0-24", key2);
  await publish("10.244.24.0-24", key3, { PublicIP: "0.0.0.0" });
  await publish("10.244.25.0-24", key3, { PublicIP: "10.77.0.11" });
  await publish("192.168.7.0-24", key3);
  await publish("10.244.2.128-25", key3);
  // What a node may be, though nobody has its key.
  await publish("10.244.26.0-24", nobodys);
  const reasons = [
    'must publish a public key of 32 bytes in base64 (got "garbage")',
    "has this node's own public key",
    "has the subnet, the VTEP MAC or the public key of 10.244.2.0-24",
    "it has no public address for its subnet 10.244.24.0/24",
    "its public address 10.77.0.11 is this node's",
    "its subnet 192.168.7.0/24 is outside of the network 10.244.0.0/16",
    "its subnet is that of 10.244.2.0-24",
  ];
  let status = "";
  await cluster.until("the refusals", async () => {
    status = await n1.flanneld("status || true");
    return reasons.every((reason) => status.includes(reason));
  });
  const longest = Math.max(...status.split("\n").map(({ length }) => length));
  expect(longest).toBeLessThan(500);
  const addedLines = /^.*\b(?:10\.244\.26\.0|A{43}=).*\n/gm;
  expect((await configOf(n1)).replaceAll(addedLines, "")).toBe(before);
  expect(await n1.ping(n2.pod4)).toContain("ttl=62");
});

test("takes a cluster's packets over node by node, and gives them back", {
  timeout: 300_000,
}, async () => {
  const cluster = nodes();
  const [n1, n2, n3] = cluster.members;
  const use = async (type: string): Promise<void> => {
    await cluster.configure({ ...dualStack, Backend: { Type: type } });
  };
  await use("vxlan");
  for (const member of cluster.members) await member.start();
  for (const member of cluster.members) await member.whenJoined("flannel.1");
  const pings = [await n1.startPings(n2.pod4), await n2.startPings(n3.pod4)];
  for (const type of ["host-gw", "wireguard", "vxlan"]) {
    await use(type);
    for (const member of cluster.members) {
      await member.end("TERM");
      await member.start();
      await member.whenReady();
    }
    for (const member of type === "wireguard" ? cluster.members : []) {
      await member.whenJoined("flannel-wg");
      await whenGone(cluster, member, "flannel.1");
    }
  }
  for (const member of cluster.members) await whenGone(cluster, member, "flannel-wg");
  const lost = [await lostOf(pings[0] ?? expect.fail()), await lostOf(pings[1] ?? expect.fail())];
  expect(lost, await n1.sh("tail -n 100 /run/n?/log")).toEqual(["", ""]);
});

describe("beside the Go flanneld", () => {
  const skipped = existsSync(go) ? "" : " (skipped: set GO_FLANNELD to its executable)";
  test.skipIf(skipped !== "")(`pods are connected${skipped}`, { timeout: 200_000 }, async () => {
    const cluster = nodes();
    const [n1, n2] = cluster.members;
    const Backend = { Type: "wireguard", PSK: psk, PersistentKeepaliveInterval: 5 };
    await cluster.configure({ ...dualStack, Backend });
    await n1.start();
    // It looks for rules of iptables to remove, and there are none.
    await n2.sh(
      "printf '#!/bin/sh\necho iptables v1.8.9\n' > /bin/iptables; chmod +x /bin/iptables; cp /bin/iptables /bin/ip6tables",
    );
    await n2.start("/opt/go/flanneld");
    await n1.whenJoined("flannel-wg");
    for (const address of [n2.pod4, n2.pod6]) {
      await cluster.until(`the answer of ${address}`, async () =>
        (await n1.ping(address)).includes("ttl=62"),
      );
    }
    expect(shapeOf(await n1.entry())).toBe(shapeOf(await n2.entry()));
    // Ours takes over from the Go program on the same node, with the same key.
    const key = await publicKeyOf(n2);
    await n2.end("KILL");
    await n2.start();
    await n2.whenJoined("flannel-wg");
    expect(await publicKeyOf(n2)).toBe(key);
    for (const address of [n2.pod4, n2.pod6]) {
      expect(await n1.ping(address), address).toContain("ttl=62");
    }
  });
});

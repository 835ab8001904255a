/** cnitool doctor sees what is wrong with the ways to other nodes. */
import { expect, test } from "vitest";
import { binDir } from "../../helpers/cni.ts";
import { until, type Daemon } from "../../helpers/flanneld.ts";
import {
  createKubeNodes,
  prefix,
  startOnKube,
  whenReady,
  whenWritten,
} from "../../helpers/flanneld_nodes.ts";
import { createCluster } from "../../helpers/overlay_cluster.ts";
import type { FabricNode } from "../../lab/fabric.ts";

interface Finding {
  readonly id: string;
  readonly what: string;
  readonly means: string;
}

/** What it finds of the overlay: there are no pods here, and no config for any. */
async function findings({ sandbox }: Pick<FabricNode, "sandbox">): Promise<readonly Finding[]> {
  const { stdout } = await sandbox.exec(`${binDir()}/cnitool`, ["doctor", "--json"]);
  const all = JSON.parse(stdout) as readonly Finding[];
  return all.filter(({ id }) => /^(?:overlay|peer|flanneld)-/.test(id));
}

/** Waits until it finds that. */
async function whenFound(node: FabricNode, id: string, daemon: Daemon): Promise<Finding> {
  let found: Finding | undefined;
  await until(
    id,
    async () => {
      found = (await findings(node)).find((finding) => finding.id === id);
      return found !== undefined;
    },
    daemon,
  );
  return found ?? expect.fail();
}

test.concurrent("pain 40: peers without route or entry, a blocked port, an MTU without room", async () => {
  await using cluster = await createCluster({ backend: { Type: "vxlan" }, families: [4] });
  const [node, peer] = [cluster.node(1), cluster.node(2)];
  expect(await findings(node)).toEqual([]);
  const found = async (breaks: string, mends: string, where = node.sandbox) => {
    await where.sh(breaks);
    const all = await findings(node);
    await where.sh(mends);
    return all;
  };
  const rule = "INPUT -p udp --dport 8472 -j DROP";
  const blocked = await found(`iptables -A ${rule}`, `iptables -D ${rule}`, peer.sandbox);
  expect(blocked.map(({ id }) => id)).toEqual(["overlay-blocked"]);
  expect(blocked[0]?.what).toContain("10.77.0.12 (10.244.2.0/24) answers at the address");
  expect(blocked[0]?.means).toContain("UDP port 8472 may be blocked");

  // From here on nobody puts anything back.
  await node.daemon.kill();
  const fdb = await node.sandbox.sh("bridge fdb show dev flannel.1 | grep 10.77.0.12");
  const [mac = ""] = fdb.split(" ");
  const lacking = await found(
    `bridge fdb delete ${mac} dev flannel.1`,
    `bridge fdb append ${mac} dev flannel.1 dst 10.77.0.12 self permanent`,
  );
  expect(lacking.map(({ id }) => id)).toEqual(["overlay-entry-missing"]);
  expect(lacking[0]?.what).toContain("10.244.2.0/24");

  await node.sandbox.sh("ip link set eth0 mtu 1400; ip route delete 10.244.3.0/24");
  const overlayFindings = await findings(node);
  expect(overlayFindings.map(({ id }) => id).toSorted()).toEqual([
    "overlay-mtu",
    "overlay-route-missing",
  ]);
});

test.concurrent("pain 14: a path without room for the device's MTU, wrong checksums, two nodes with one MAC", async () => {
  await using cluster = await createCluster({ backend: { Type: "vxlan" }, families: [4] });
  const [node, peer] = [cluster.node(1), cluster.node(2)];
  const { router } = cluster;
  await router.sh("ip link set n2 mtu 1400; ip link set n3 mtu 1400");
  const narrow = await findings(node);
  expect(narrow.map(({ id }) => id)).toEqual(["overlay-path-mtu"]);
  expect(narrow[0]?.what).toContain("Packets of 1450 bytes, the MTU of flannel.1, do not arrive");
  await router.sh("ip link set n2 mtu 1500; ip link set n3 mtu 1500");
  expect(await findings(node)).toEqual([]);

  await peer.sandbox.sh(`
    nft 'table ip spoil { chain output { type filter hook output priority 0; }; }'
    nft 'add rule ip spoil output icmp type echo-request icmp checksum set 4711'
    ping -n -q -c 150 -i 0.002 -W 1 ${node.address4} > /dev/null || test $? = 1
    nft delete table ip spoil
  `);
  const spoilt = await findings(node);
  expect(spoilt.map(({ id }) => id)).toEqual(["overlay-checksums"]);
  expect(spoilt[0]?.what).toMatch(/received 1[45]\d packets with a wrong checksum/);

  // As a flanneld leaves it that does not compare its peers.
  await node.daemon.kill();
  const [mac = ""] = (
    await node.sandbox.sh("bridge fdb show dev flannel.1 | grep 10.77.0.12")
  ).split(" ");
  await node.sandbox.sh(`
    ip neighbour replace 10.244.3.0 lladdr ${mac} dev flannel.1 nud permanent
    bridge fdb append ${mac} dev flannel.1 dst 10.77.0.13 self permanent
  `);
  const shared = (await findings(node)).find(({ id }) => id === "overlay-same-mac");
  expect(shared?.what).toContain(`Several nodes have the same VTEP MAC on flannel.1: ${mac}`);
});

test.concurrent("with host-gw: a peer whose route is gone or another program's, and a flanneld that was killed", async () => {
  await using cluster = await createKubeNodes(2, { Backend: { Type: "host-gw" } });
  const { api } = cluster;
  const [node, peer] = [cluster.node(1), cluster.node(2)];
  await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  await api.call("setNode", "n2", { podCIDRs: ["10.244.2.0/24"] });
  const [daemon, peerDaemon] = [startOnKube(node), startOnKube(peer)];
  await whenReady(peer, peerDaemon);
  await whenWritten(node, daemon);
  await whenReady(node, daemon);
  const { sandbox } = node;
  const hasRoute = async () => (await sandbox.sh("ip route")).includes("10.244.2.0/24");
  await until("the route", hasRoute, daemon);
  await until("health", async () => (await findings(node)).length === 0, daemon);

  const foreign = "10.244.2.0/24 via 10.77.0.1 proto static";
  await sandbox.sh(`ip route replace ${foreign}`);
  const missing = await whenFound(node, "overlay-peer-missing", daemon);
  expect(missing.what).toContain("n2 (10.244.2.0/24)");
  await daemon.end("SIGKILL");
  expect((await findings(node)).map(({ id }) => id)).toEqual(["flanneld-stopped"]);
});

test.concurrent("with vxlan: a peer that lacks everything in the kernel, and nodes with one MAC or subnet", async () => {
  await using cluster = await createKubeNodes(2);
  const { api } = cluster;
  const [node, peer] = [cluster.node(1), cluster.node(2)];
  await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  await api.call("setNode", "n2", { podCIDRs: ["10.244.2.0/24"] });
  const [daemon, peerDaemon] = [startOnKube(node), startOnKube(peer)];
  await whenReady(peer, peerDaemon);
  const hasRoute = async () => (await node.sandbox.sh("ip route")).includes("10.244.2.0/24");
  await until("the route", hasRoute, daemon);
  const clone = {
    [`${prefix}kube-subnet-manager`]: "true",
    [`${prefix}backend-type`]: "vxlan",
    [`${prefix}backend-data`]:
      (await api.call("node", "n2"))?.metadata.annotations[`${prefix}backend-data`] ?? "",
    [`${prefix}public-ip`]: "10.77.0.13",
  };
  await api.call("setNode", "clone", { podCIDRs: ["10.244.3.0/24"], annotations: clone });
  const refused = await whenFound(node, "peer-refused", daemon);
  expect(refused.what).toContain("clone (");
  await api.call("deleteNode", "clone");
  await until("nothing", async () => (await findings(node)).length === 0, daemon);

  // flanneld tells what it wants, and does not see what happens.
  const status = await node.sandbox.output(`${binDir()}/flanneld`, ["status", "json"]);
  await daemon.end();
  const serve = `require("node:net").createServer((socket) => socket.end(${JSON.stringify(status)}))
    .listen("/run/flannel/subnet.env.sock", () => console.log("ready"))`;
  await node.sandbox.start(process.execPath, ["-e", serve]);
  expect(await findings(node)).toEqual([]);
  await node.sandbox.sh(`
    ip route delete 10.244.2.0/24
    ip neighbour flush dev flannel.1 nud permanent
    bridge fdb show dev flannel.1 | while read mac rest; do bridge fdb delete $mac dev flannel.1; done
  `);
  const found = await findings(node);
  expect(found.map(({ id }) => id)).toEqual(["overlay-peer-missing"]);
  expect(found[0]?.what).toContain("n2 (10.244.2.0/24)");
});

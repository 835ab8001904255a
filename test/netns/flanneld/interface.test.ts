/** The interface that leads to the other nodes changes while flanneld runs. */
import { expect, test } from "vitest";
import { until } from "../../helpers/flanneld.ts";
import {
  createKubeNodes,
  prefix,
  startOnKube,
  subnetEnv,
  whenReady,
} from "../../helpers/flanneld_nodes.ts";

test("pain 16, pain 18, seen 14: the interface's MTU and address change; subnet.env and the annotation follow", async () => {
  await using cluster = await createKubeNodes();
  const { api, fabric } = cluster;
  const [node, peer] = [cluster.node(1), cluster.node(2)];
  await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  await api.call("setNode", "n2", { podCIDRs: ["10.244.2.0/24"] });
  const [daemon, peerDaemon] = [startOnKube(node), startOnKube(peer)];
  await Promise.all([whenReady(node, daemon), whenReady(peer, peerDaemon)]);
  expect(await subnetEnv(node)).toContain("FLANNEL_MTU=1450\n");

  const { sandbox } = node;
  await sandbox.sh("ip link set eth0 mtu 1400");
  const mtuChanged = performance.now();
  await until(
    "the MTU",
    async () => (await subnetEnv(node)).includes("FLANNEL_MTU=1350\n"),
    daemon,
  );
  const mtuTook = performance.now() - mtuChanged;
  expect(await sandbox.sh("ip link show flannel.1")).toContain("mtu 1350");

  const neighbour = "10.77.0.99 lladdr 02:77:00:00:01:01 nud permanent";
  await fabric.router.sh(`ip neighbour replace ${neighbour} dev br0`);
  await peer.sandbox.sh(`ip neighbour replace ${neighbour} dev eth0`);
  await sandbox.sh(`
    ip address add 10.77.0.99/24 dev eth0
    ip address delete 10.77.0.11/24 dev eth0
    ip address show dev eth0 | grep -q 10.77.0.99 || ip address add 10.77.0.99/24 dev eth0
    ip route replace default via 10.77.0.1
  `);
  const addressChanged = performance.now();
  const publicIp = async () =>
    (await api.call("node", "n1"))?.metadata.annotations[`${prefix}public-ip`];
  await until("the annotation", async () => (await publicIp()) === "10.77.0.99", daemon);
  const addressTook = performance.now() - addressChanged;
  console.log(
    `from the change of the MTU to subnet.env ${mtuTook.toFixed()} ms, of the address to the annotation ${addressTook.toFixed()} ms`,
  );
  expect(await sandbox.sh("ip -d link show flannel.1")).toContain("local 10.77.0.99");
  // The peer sends to the new address.
  await until(
    "the peer's entry",
    async () => (await peer.sandbox.sh("bridge fdb show dev flannel.1")).includes("10.77.0.99"),
    peerDaemon,
  );
  const [lines, changed] = [daemon.log(), await subnetEnv(node)];
  expect(lines).not.toContain("defect");
  expect(changed).toContain("FLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1350\n");
  await Promise.all([daemon.end(), peerDaemon.end()]);
});

/** What of vxlan may drift beyond what the suite in backends.test.ts does to every backend. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  createCluster,
  overlayOf,
  expectOverlay,
  type Cluster,
} from "../../helpers/overlay_cluster.ts";
import { until } from "../../helpers/flanneld.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await createCluster({ backend: { Type: "vxlan" } });
});
afterAll(async () => {
  await cluster?.close();
});

describe("what is taken away from a node is put back at once", () => {
  test.for([
    ["pain 3, seen 6: the device", "ip link delete flannel.1"],
    [
      "the device, beside a link without a MAC",
      "ip tuntap add tun0 mode tun; ip link set tun0 up; ip link delete flannel.1",
    ],
    ["both devices", "ip link delete flannel.1; ip link delete flannel-v6.1"],
    ["seen 7: the device's being up", "ip link set flannel.1 down"],
    ["pain 4: its being up, for a moment", "ip link set flannel.1 down; ip link set flannel.1 up"],
    ["IPv6's being up, for a moment", "ip link set flannel-v6.1 down; ip link set flannel-v6.1 up"],
    ["its name", "ip link set flannel.1 name vx0"],
    ["its MAC", "ip link set flannel.1 address 02:aa:aa:aa:aa:aa"],
    ["its local address", "ip link set flannel.1 type vxlan id 1 local 10.77.0.99"],
    ["its not learning", "ip link set flannel.1 type vxlan id 1 learning"],
    ["seen 13: its address", "ip address flush dev flannel.1"],
    ["its only address", "ip address add 10.244.9.0/32 dev flannel.1"],
    ["pain 39: its addresses, by dhcpcd", "ip address add 169.254.7.7/16 dev flannel.1"],
    ["seen 8: a route", "ip route delete 10.244.2.0/24"],
    ["all routes", "ip route flush proto 70; ip -6 route flush proto 70"],
    ["a neighbour", "ip neighbour delete 10.244.2.0 dev flannel.1"],
    ["a neighbour's MAC", "ip neighbour replace 10.244.2.0 lladdr 02:aa:aa:aa:aa:aa dev flannel.1"],
    ["all neighbours", "ip neighbour flush dev flannel.1 nud permanent"],
    [
      "a forwarding entry",
      "bridge fdb delete $(bridge fdb show dev flannel.1 | sed -n '1s/ .*//p') dev flannel.1 self",
    ],
    [
      "a forwarding entry's address",
      "bridge fdb replace $(bridge fdb show dev flannel.1 | sed -n '1s/ .*//p') dev flannel.1 dst 10.77.0.99 self permanent",
    ],
    [
      "a forwarding entry's only address",
      "bridge fdb append $(bridge fdb show dev flannel.1 | sed -n '1s/ .*//p') dev flannel.1 dst 10.77.0.99 self permanent",
    ],
    [
      "its own, by strange routes",
      "ip route add 10.244.77.0/24 via 10.244.77.0 dev flannel.1 onlink",
    ],
    [
      "its own, by strange neighbours and entries",
      "ip neighbour add 10.244.77.0 lladdr 02:aa:aa:aa:aa:aa dev flannel.1; bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 10.77.0.99 self permanent",
    ],
    [
      "the interface's being up",
      "ip link set eth0 down; ip link set eth0 up; ip route replace default via 10.77.0.1",
    ],
  ] as const)("%s", async ([, script]) => {
    const node = cluster.node(1);
    await node.daemon.until(({ programmed, wanted }) => programmed === wanted);
    const before = await overlayOf(node);
    await node.sandbox.sh(script);
    await expectOverlay(node, before);
    expect(await node.pod.ping(cluster.node(2).pod4)).toBe(true);
  });

  test.for([
    [
      "ip link delete flannel.1",
      "Repaired what something else has changed: create the vxlan device flannel.1",
    ],
    ["ip route delete 10.244.2.0/24", "Put back what something else has taken away: 1 route."],
  ] as const)("and flanneld says so: %s", async ([script, line]) => {
    const node = cluster.node(1);
    await node.daemon.until(({ programmed, wanted }) => programmed === wanted);
    const before = await overlayOf(node);
    await node.sandbox.sh(script);
    await expectOverlay(node, before);
    await until("the line", () => node.daemon.log().includes(line));
  });
});

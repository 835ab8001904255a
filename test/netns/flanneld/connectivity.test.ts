import { expect, test } from "vitest";
import { createCluster, overlayOf, type Cluster } from "../../helpers/overlay_cluster.ts";

/** Pings from each node's pod to each other's. @returns the pairs that failed. */
async function unreachable(cluster: Cluster, families: readonly (4 | 6)[]): Promise<string[]> {
  const pairs = cluster.nodes.flatMap((from) =>
    cluster.nodes.flatMap((to) =>
      from === to ? [] : families.map((family) => ({ from, to, family })),
    ),
  );
  const failed = await Promise.all(
    pairs.map(async ({ from, to, family }) =>
      (await from.pod.ping(family === 4 ? to.pod4 : to.pod6))
        ? []
        : [`${from.name} to ${to.name}, IPv${family}`],
    ),
  );
  return failed.flat();
}

const two = [{ number: 1 }, { number: 2 }, { number: 3, network: 1 }] as const;

test.concurrent.for([
  { name: "vxlan, IPv4", backend: { Type: "vxlan" }, families: [4] },
  { name: "vxlan, IPv6", backend: { Type: "vxlan" }, families: [6] },
  { name: "vxlan, both families", backend: { Type: "vxlan" }, families: [4, 6] },
  {
    name: "vxlan with every option",
    backend: { Type: "vxlan", VNI: 4096, Port: 4789, MTU: 1400, GBP: true, Learning: true },
    families: [4, 6],
  },
  { name: "host-gw, both families", backend: { Type: "host-gw" }, families: [4, 6] },
  {
    name: "vxlan with direct routing, over a router",
    backend: { Type: "vxlan", DirectRouting: true },
    families: [4, 6],
    nodes: two,
  },
] as const)("pods reach each other by $name", async ({ backend, families, ...rest }) => {
  await using cluster = await createCluster({ backend, families, ...rest });
  expect(await unreachable(cluster, families)).toEqual([]);
  // Nothing is done once it is done.
  const before = await overlayOf(cluster.node(1));
  await cluster.tell(cluster.node(1));
  expect(await overlayOf(cluster.node(1))).toBe(before);
});

test("direct routing takes a tunnel to where a router is in between, and none elsewhere", async () => {
  await using cluster = await createCluster({
    backend: { Type: "vxlan", DirectRouting: true },
    nodes: two,
  });
  const routes = await cluster
    .node(1)
    .sandbox.sh("ip route show proto 70; ip -6 route show proto 70");
  expect(routes.replaceAll(/ +$/gm, "").trim().split("\n")).toEqual([
    "10.244.2.0/24 via 10.77.0.12 dev eth0",
    "10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink",
    "fd00:244:0:2::/64 via fd77::12 dev eth0 metric 1024 pref medium",
    "fd00:244:0:3::/64 via fd00:244:0:3:: dev flannel-v6.1 metric 1024 onlink pref medium",
  ]);
  const neighbours = await cluster
    .node(1)
    .sandbox.sh("ip neighbour show dev flannel.1 nud permanent");
  expect(neighbours.trim().split("\n")).toHaveLength(1);
});

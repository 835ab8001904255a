/** Families and options of vxlan beyond those of the suite in backends.test.ts. */
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

test.concurrent.for([
  { name: "vxlan, IPv4", backend: { Type: "vxlan" }, families: [4] },
  { name: "vxlan, IPv6", backend: { Type: "vxlan" }, families: [6] },
  {
    name: "vxlan with every option",
    backend: { Type: "vxlan", VNI: 4096, Port: 4789, MTU: 1400, GBP: true, Learning: true },
    families: [4, 6],
  },
] as const)("pods reach each other by $name", async ({ backend, families }) => {
  await using cluster = await createCluster({ backend, families });
  expect(await unreachable(cluster, families)).toEqual([]);
  // Nothing is done once it is done.
  const before = await overlayOf(cluster.node(1));
  await cluster.tell(cluster.node(1));
  expect(await overlayOf(cluster.node(1))).toBe(before);
});

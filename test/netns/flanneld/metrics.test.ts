/** What flanneld counts, with a flanneld that has its leases from the Kubernetes API. */
import { expect, test } from "vitest";
import { until } from "../../helpers/flanneld.ts";
import {
  answer,
  createKubeNodes,
  prefix,
  startOnKube,
  whenReady,
} from "../../helpers/flanneld_nodes.ts";

test("pain 45: each kind of repair counts, beside the time and the drops", async () => {
  await using cluster = await createKubeNodes(1);
  const { api } = cluster;
  const node = cluster.node(1);
  await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  await api.call("setNode", "n2", {
    podCIDRs: ["10.244.2.0/24"],
    annotations: {
      [`${prefix}kube-subnet-manager`]: "true",
      [`${prefix}backend-type`]: "vxlan",
      [`${prefix}backend-data`]: '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
      [`${prefix}public-ip`]: "10.77.0.12",
    },
  });
  const began = performance.now();
  const daemon = startOnKube(node);
  await whenReady(node, daemon);
  const metrics = async (): Promise<string> => answer(node, "/metrics");
  // It is told when a round has found nothing more to do, a moment after the network is up.
  await until(
    "the time of the first convergence",
    async () => (await metrics()).includes("\nflanneld_convergence_seconds "),
    daemon,
  );
  const first = await metrics();
  for (const kind of ["device", "route", "neighbour", "fdb", "rule"]) {
    expect(first).toMatch(new RegExp(`^flanneld_repairs_total\\{kind="${kind}"\\} 0$`, "m"));
  }
  const convergence = Number(/^flanneld_convergence_seconds (\d+\.\d+)$/m.exec(first)?.[1]);
  expect(convergence).toBeGreaterThan(0);
  expect(convergence).toBeLessThan((performance.now() - began) / 1000);
  for (const direction of ["receive", "transmit"]) {
    expect(first).toMatch(
      new RegExp(
        `^flanneld_device_drops_total\\{device="flannel.1",direction="${direction}"\\} \\d+$`,
        "m",
      ),
    );
  }
  const damages = {
    route: "ip route delete 10.244.2.0/24",
    neighbour: "ip neighbour delete 10.244.2.0 dev flannel.1",
    fdb: "bridge fdb delete 02:00:00:00:00:02 dev flannel.1 self",
    rule: "iptables -t nat -F FLANNEL-POSTRTG",
    device: "ip link set flannel.1 mtu 1300",
  };
  for (const [kind, damage] of Object.entries(damages)) {
    await node.sandbox.sh(damage);
    await until(
      `the repair of a ${kind}`,
      async () => (await metrics()).includes(`\nflanneld_repairs_total{kind="${kind}"} 1\n`),
      daemon,
    );
  }
  // Packets to a station that the device has no entry for.
  await node.sandbox.sh(`
    ip route add 192.0.2.0/24 dev flannel.1 proto static
    ip neighbour add 192.0.2.1 lladdr 02:00:00:00:99:99 dev flannel.1 nud noarp
  `);
  const dropped = async (): Promise<number> =>
    Number(/device="flannel.1",direction="transmit"\} (\d+)$/m.exec(await metrics())?.[1]);
  const before = await dropped();
  await node.sandbox.sh("ping -n -c 5 -i 0.01 -W 1 192.0.2.1 > /dev/null || test $? = 1");
  expect(await dropped()).toBeGreaterThanOrEqual(before + 5);
  await daemon.end();
});

/** flanneld follows its interface, and blames nobody for what it does itself. */
import { expect, test } from "vitest";
import { until, type Daemon } from "../../helpers/flanneld.ts";
import {
  answer,
  createEtcdNodes,
  createKubeNodes,
  startOnEtcd,
  startOnKube,
  subnetEnv,
  whenReady,
} from "../../helpers/flanneld_nodes.ts";
import type { FabricNode } from "../../lab/fabric.ts";

async function changeInterface(node: FabricNode, daemon: Daemon): Promise<void> {
  await whenReady(node, daemon);
  for (const mtu of [1400, 1500]) {
    await node.sandbox.sh(`ip link set eth0 mtu ${mtu}`);
    await until(
      `the MTU of ${mtu}`,
      async () => (await subnetEnv(node)).includes(`FLANNEL_MTU=${mtu - 50}\n`),
      daemon,
    );
  }
  await node.sandbox.sh(`
    ip address add 10.77.0.99/24 dev eth0
    ip address delete 10.77.0.11/24 dev eth0
    ip address show dev eth0 | grep -q 10.77.0.99 || ip address add 10.77.0.99/24 dev eth0
  `);
  await until(
    "the address",
    async () => (await node.sandbox.sh("ip -d link show flannel.1")).includes("local 10.77.0.99"),
    daemon,
  );
}

async function expectNoBlame(node: FabricNode, daemon: Daemon): Promise<void> {
  const log = daemon.log();
  expect(log).toContain("Followed the interface to the other nodes: set flannel.1");
  expect(log).not.toMatch(/what something else has changed|Cancelled|anew|address has changed\./);
  expect(log).not.toMatch(/Cannot (?:watch|renew|list)/);
  expect(await answer(node, "/metrics")).toContain('flanneld_repairs_total{kind="device"} 0\n');
  await node.sandbox.sh("ip link set flannel.1 mtu 1300");
  await until(
    "the blame",
    () => daemon.log().includes("Repaired what something else has changed"),
    daemon,
  );
}

test("pain 18: with the Kubernetes API", async () => {
  await using cluster = await createKubeNodes(1);
  const node = cluster.node(1);
  await cluster.api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  const daemon = startOnKube(node);
  await changeInterface(node, daemon);
  await until(
    "the annotation",
    async () =>
      Object.values((await cluster.api.call("node", "n1"))?.metadata.annotations ?? {}).includes(
        "10.77.0.99",
      ),
    daemon,
  );
  await expectNoBlame(node, daemon);
  await daemon.end();
});

test("pain 18: with etcd", async () => {
  await using cluster = await createEtcdNodes(1);
  const { etcd } = cluster;
  const node = cluster.node(1);
  const daemon = startOnEtcd(node);
  await changeInterface(node, daemon);
  await until(
    "the entry",
    async () =>
      (await etcd.entries("/coreos.com/network/subnets/"))[0]?.value.includes("10.77.0.99") ===
      true,
    daemon,
  );
  // The watch goes on.
  await etcd.ctl(
    "put",
    "/coreos.com/network/subnets/10.244.250.0-24",
    '{"PublicIP":"10.77.0.12","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}}',
  );
  await until(
    "the new peer",
    async () => (await node.sandbox.routes(4)).some(({ dst }) => dst === "10.244.250.0/24"),
    daemon,
  );
  await expectNoBlame(node, daemon);
  await daemon.end();
});

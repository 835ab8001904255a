/** What flanneld should have heard of, and has not: from the kernel, the Kubernetes API and etcd. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { until, type Daemon } from "../../helpers/flanneld.ts";
import {
  answer,
  createEtcdNodes,
  createKubeNodes,
  prefix,
  startOnEtcd,
  startOnKube,
  whenReady,
  type KubeNodes,
} from "../../helpers/flanneld_nodes.ts";
import { soak } from "../../helpers/form.ts";
import { expectOverlay, overlayOf } from "../../helpers/overlay_cluster.ts";
import type { FabricNode } from "../../lab/fabric.ts";
import { monitorRoutes } from "../../lab/route_monitor.ts";

const vxlan = { Network: "10.0.0.0/8", Backend: { Type: "vxlan" } };
const count = soak ? 5000 : 500;

/** The sum, whatever its labels are. */
async function metric(node: FabricNode, name: string): Promise<number> {
  const values = (await answer(node, "/metrics")).matchAll(
    new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, "gm"),
  );
  return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
}

describe(`with ${count} peers`, () => {
  let cluster: KubeNodes;
  let daemon: Daemon;
  const node = (): FabricNode => cluster.node(1);
  const routes = async (): Promise<number> =>
    Number(await node().sandbox.sh("ip route show dev flannel.1 | wc -l"));

  beforeAll(async () => {
    cluster = await createKubeNodes(1, vxlan);
    const { api } = cluster;
    await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
    const annotations = {
      [`${prefix}kube-subnet-manager`]: "true",
      [`${prefix}backend-type`]: "vxlan",
      [`${prefix}backend-data`]: '{"VNI":1,"VtepMAC":"%mac"}',
      [`${prefix}public-ip`]: "%ip",
    };
    await api.call("setNodes", count, "p", annotations, 0);
    daemon = startOnKube(node());
    await whenReady(node(), daemon);
    await until("all routes", async () => (await routes()) === count, daemon);
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  test("the kernel has told more than there was room for", async () => {
    const { sandbox } = node();
    const before = await overlayOf(node());
    // An event for each, several KiB large, of something that is none of flannel's.
    const changes = Array.from(
      { length: 10_000 },
      (_, at) =>
        `link set lo txqueuelen ${1000 + (at % 2)}\nroute replace 192.0.2.${at % 250}/32 dev lo\n`,
    );
    await daemon.whileStopped(async () => {
      await sandbox.output("ip", ["-batch", "-"], { input: changes.join("") });
      await sandbox.sh(`
        ip route flush 192.0.2.0/24
        ip route delete 10.128.7.0/24
        ip neighbour delete 10.128.8.0 dev flannel.1
        bridge fdb delete 02:00:00:00:00:09 dev flannel.1 self
        ip route add 10.250.0.0/24 via 10.250.0.0 dev flannel.1 onlink
      `);
    });
    const repairs = async () => metric(node(), "flanneld_repairs_total");
    await until("the repairs", async () => (await repairs()) === 3, daemon);
    await expectOverlay(node(), before);
    expect(await metric(node(), "flanneld_kernel_event_losses_total")).toBeGreaterThan(0);
  });

  test("the API cuts its lists off, at the start and later", async () => {
    const { api } = cluster;
    const { sandbox } = node();
    const monitor = await monitorRoutes(sandbox);
    const cut = async () =>
      api.call("fail", { match: "nodes\\?resourceVersion", cut: count * 500, times: 2 });
    await cut();
    await api.call("expire");
    await until("the end", async () => daemon.log().includes("Cannot list the nodes"), daemon);
    await daemon.end("SIGKILL");
    await cut();
    daemon = startOnKube(node());
    await until("the end", async () => daemon.log().includes("Cannot list the nodes"), daemon);
    await api.call("deleteNode", "p9");
    await until("the rest", async () => (await routes()) === count - 1, daemon);
    await whenReady(node(), daemon);
    expect(await monitor.stop()).toEqual([expect.stringMatching(/^Deleted 10\.128\.9\.0\/24/)]);
  });
});

test.runIf(soak)("an etcd that says nothing is asked anew", async () => {
  await using cluster = await createEtcdNodes(1, vxlan);
  const { etcd } = cluster;
  const node = cluster.node(1);
  const daemon = startOnEtcd(node);
  await whenReady(node, daemon);
  await etcd.daemon.whileStopped(async () =>
    vi.waitFor(() => expect(daemon.log()).toContain("Cannot watch"), { timeout: 60_000 }),
  );
  const value =
    '{"PublicIP":"10.77.0.12","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:12"}}';
  await etcd.ctl("put", "/coreos.com/network/subnets/10.99.1.0-24", value);
  const way = async () => node.sandbox.sh("ip route show 10.99.1.0/24");
  await until("the way", async () => (await way()) !== "", daemon);
  expect(await daemon.end()).toBe(0);
});

/** Node objects change, go and come back while flanneld runs and while it does not. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { until, type Daemon } from "../../helpers/flanneld.ts";
import {
  answer,
  createKubeNodes,
  prefix,
  startOnKube,
  subnetEnv,
  whenReady,
  type KubeNodes,
} from "../../helpers/flanneld_nodes.ts";
import type { FabricNode } from "../../lab/fabric.ts";

/** What a peer that is no more than a Node object says of itself. */
function told(last: number): Record<string, string> {
  return {
    [`${prefix}kube-subnet-manager`]: "true",
    [`${prefix}backend-type`]: "vxlan",
    [`${prefix}backend-data`]: `{"VNI":1,"VtepMAC":"02:00:00:00:00:${last}"}`,
    [`${prefix}public-ip`]: `10.77.0.${last}`,
  };
}

/** All that a node has of a subnet's peer, in one text. */
async function waysTo({ sandbox }: FabricNode, subnet: string, mac: string): Promise<string> {
  return sandbox.sh(`
    ip route show ${subnet}/24
    ip neighbour show ${subnet} dev flannel.1
    bridge fdb show dev flannel.1 | grep ${mac} || true
  `);
}

describe("two nodes", () => {
  let cluster: KubeNodes;
  const daemons: Daemon[] = [];
  const mac = async (name: string): Promise<string> => {
    const data = (await cluster.api.call("node", name))?.metadata.annotations[
      `${prefix}backend-data`
    ];
    return /[\da-f]{2}(?::[\da-f]{2}){5}/.exec(data ?? "")?.[0] ?? "";
  };
  const publicIp = async (name: string, annotationPrefix = prefix) =>
    (await cluster.api.call("node", name))?.metadata.annotations[`${annotationPrefix}public-ip`];
  const hasWaysTo = async (subnet: string, address: string): Promise<boolean> => {
    const ways = await waysTo(cluster.node(1), subnet, address);
    return ways.trim().split("\n").length === 3;
  };

  const untilGone = async (subnet: string, address: string): Promise<void> =>
    until(
      `the end of the ways to ${subnet}`,
      async () => (await waysTo(cluster.node(1), subnet, address)).trim() === "",
      ...daemons,
    );

  beforeAll(async () => {
    cluster = await createKubeNodes();
    for (const number of [1, 2]) {
      const podCIDRs = [`10.244.${number}.0/24`];
      await cluster.api.call("setNode", `n${number}`, { podCIDRs });
      daemons.push(startOnKube(cluster.node(number)));
    }
    for (const [at, daemon] of daemons.entries()) await whenReady(cluster.node(at + 1), daemon);
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  test("seen 15, seen 16: a Node that is deleted has no ways to it, and when it is made again it has", async () => {
    const { api } = cluster;
    const [, second] = daemons;
    const address = await mac("n2");
    await until("the ways", async () => hasWaysTo("10.244.2.0", address), ...daemons);
    await api.call("deleteNode", "n2");
    await untilGone("10.244.2.0", address);
    await api.call("setNode", "n2", { podCIDRs: ["10.244.22.0/24"] });
    await until("the new ways", async () => hasWaysTo("10.244.22.0", address), ...daemons);
    await until(
      "the new subnet",
      async () => (await subnetEnv(cluster.node(2))).includes("10.244.22.1/24"),
      ...daemons,
    );
    const line = "This node was recreated; its annotations are set again.";
    await until("the line", () => second?.log().includes(line) === true, ...daemons);
    await vi.waitFor(
      async () =>
        expect((await api.call("node", "n2"))?.status.conditions[0]?.["type"]).toBe(
          "NetworkUnavailable",
        ),
      { timeout: 20_000, interval: 50 },
    );
  });

  test("seen 27: two Nodes have one podCIDR, and the older has it", async () => {
    const { api } = cluster;
    const node = cluster.node(1);
    const created = "2090-01-01T00:00:00Z";
    const late = { podCIDRs: ["10.244.22.0/24"], annotations: told(66), created };
    const before = await waysTo(node, "10.244.22.0", await mac("n2"));
    await api.call("setNode", "late", late);
    const refusal = "The peer late is refused: its subnet is that of n2 already.";
    await until("the refusal", () => daemons[0]?.log().includes(refusal) === true, ...daemons);
    expect(await waysTo(node, "10.244.22.0", await mac("n2"))).toBe(before);
    await api.call("deleteNode", "n2");
    await until("the heir's", async () => hasWaysTo("10.244.22.0", "02:00:00:00:00:66"));
    await api.call("deleteNode", "late");
    await untilGone("10.244.22.0", "02:00:00:00:00:66");
    await api.call("setNode", "n2", { podCIDRs: ["10.244.2.0/24"] });
    await until("the ways", async () => hasWaysTo("10.244.2.0", await mac("n2")), ...daemons);
  });

  test("pain 33, seen 17, seen 19: Nodes come and go while the API server is away, which refuses at first", async () => {
    const { api } = cluster;
    const address = await mac("n2");
    await api.call("stop");
    await api.call("setNode", "n7", { podCIDRs: ["10.244.7.0/24"], annotations: told(17) });
    await until("the outage", () => daemons[0]?.log().includes("Cannot watch the nodes") === true);
    expect(await hasWaysTo("10.244.2.0", address)).toBe(true);
    await api.call("fail", { match: "nodes", status: 403, reason: "Forbidden", times: 3 });
    await api.call("start");
    await until("the ways", async () => hasWaysTo("10.244.7.0", "02:00:00:00:00:17"), ...daemons);
    await api.call("deleteNode", "n7");
    await untilGone("10.244.7.0", "02:00:00:00:00:17");
  });

  test("seen 1: SIGTERM ends flanneld, and nothing else", async () => {
    const node = cluster.node(1);
    const before = await node.sandbox.snapshot();
    const began = performance.now();
    expect(await daemons[0]?.end()).toBe(0);
    expect(performance.now() - began).toBeLessThan(3000);
    const files = before["files"]?.filter((file) => !file.endsWith(".sock"));
    expect(files).toContain("/run/flannel/subnet.env");
    expect(await node.sandbox.snapshot()).toEqual({ ...before, files, processes: [] });
  });

  test("pain 17, seen 32: the administrator's addresses are told, now and after restarts", async () => {
    const { api } = cluster;
    const node = cluster.node(1);
    const annotations = {
      [`${prefix}public-ip-overwrite`]: "203.0.113.7",
      // What an earlier run has left there.
      [`${prefix}public-ip`]: "192.0.2.99",
    };
    await api.call("setNode", "n1", { annotations });
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      const daemon = startOnKube(node);
      await whenReady(node, daemon);
      expect(await publicIp("n1")).toBe("203.0.113.7");
      expect((await node.sandbox.link("flannel.1")).linkinfo).toMatchObject({
        info_data: { local: "10.77.0.11" },
      });
      await daemon.end(signal);
    }
    const gone = { [`${prefix}public-ip-overwrite`]: null };
    await api.call("setNode", "n1", { annotations: gone });
    const daemon = startOnKube(node, "-kube-annotation-prefix=example.com/net");
    await whenReady(node, daemon);
    expect(await publicIp("n1", "example.com/net-")).toBe("10.77.0.11");
    await daemon.end();
  });

  test("pain 15: each Node names its own interface", async () => {
    const { api } = cluster;
    const node = cluster.node(1);
    await node.sandbox.sh(`
      ip link add eth1 type veth peer name uplink
      ip address add 10.79.0.11/24 dev eth1
      ip link set uplink up
      ip link set eth1 up
    `);
    await api.call("setNode", "n1", { annotations: { [`${prefix}iface`]: "eth1" } });
    const daemon = startOnKube(node);
    await whenReady(node, daemon);
    expect(await publicIp("n1")).toBe("10.79.0.11");
    expect(await answer(node, "/metrics")).toContain("flanneld_ready 1");
    expect(daemon.log()).toContain("The interface to the other nodes is eth1.");
    await daemon.end();
  });
});

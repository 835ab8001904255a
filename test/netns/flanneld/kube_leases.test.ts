/** flanneld with the Kubernetes API: leases, subnet.env, readiness, outages. */
import { describe, expect, test } from "vitest";
import { binDir } from "../../helpers/executables.ts";
import { until } from "../../helpers/flanneld.ts";
import {
  answer,
  createKubeNodes,
  netConf,
  prefix,
  startOnKube,
  vxlan,
  whenReady,
  whenWritten,
} from "../../helpers/flanneld_nodes.ts";

describe.concurrent("with the Kubernetes API", () => {
  test("pain 35, seen 3: two nodes get their subnets, write subnet.env, and have routes to each other", async () => {
    await using cluster = await createKubeNodes();
    const { api } = cluster;
    const [n1, n2] = [cluster.node(1), cluster.node(2)];
    await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
    await api.call("setNode", "n2", { podCIDRs: ["10.244.2.0/24"] });
    const [first, second] = [startOnKube(n1), startOnKube(n2)];
    expect(await whenWritten(n1, first)).toBe(
      "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
    );
    expect(await n1.sandbox.mode("/run/flannel/subnet.env")).toBe(0o644);
    await whenReady(n2, second);
    await until(
      "the route",
      async () => {
        const routes = await n1.sandbox.routes(4);
        return routes.some(
          ({ dst, gateway }) => dst === "10.244.2.0/24" && gateway === "10.244.2.0",
        );
      },
      first,
    );
    await until(
      "the condition",
      async () => {
        const conditions = (await api.call("node", "n1"))?.status.conditions;
        return conditions?.[0]?.["type"] === "NetworkUnavailable";
      },
      first,
    );
    const node = await api.call("node", "n1");
    expect(node?.metadata.annotations).toMatchObject({
      [`${prefix}kube-subnet-manager`]: "true",
      [`${prefix}backend-type`]: "vxlan",
      [`${prefix}backend-data`]: expect.stringMatching(/^\{"VNI":1,"VtepMAC":"[\da-f:]{17}"\}$/),
      [`${prefix}public-ip`]: "10.77.0.11",
    });
    expect(node?.status.conditions[0]).toMatchObject({
      type: "NetworkUnavailable",
      status: "False",
    });
    expect(await answer(n1, "/healthz")).toContain("flanneld is running");
    await until(
      "the route's count",
      async () => /^flanneld_routes_programmed 1$/m.test(await answer(n1, "/metrics")),
      first,
    );

    const mac = node?.metadata.annotations[`${prefix}backend-data`];
    expect(await first.end()).toBe(0);
    await n1.sandbox.output("ip", ["link", "delete", "flannel.1"]);
    const again = startOnKube(n1);
    await whenReady(n1, again);
    const after = await api.call("node", "n1");
    expect(after?.metadata.annotations[`${prefix}backend-data`]).toBe(mac);
    expect(await again.end("SIGINT")).toBe(0);
    expect(await second.end()).toBe(0);
  });

  test("seen 26: a node without a subnet, or with hostile peers, waits or refuses, and says so", async () => {
    await using cluster = await createKubeNodes();
    const { api } = cluster;
    const n1 = cluster.node(1);
    const peer = {
      [`${prefix}kube-subnet-manager`]: "true",
      [`${prefix}backend-type`]: "vxlan",
      [`${prefix}backend-data`]: '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
      [`${prefix}public-ip`]: "10.77.0.12",
    };
    const hostile = { foreign: "192.168.7.0/24", ours: "10.244.1.0/24", fabric: "10.77.0.0/24" };
    for (const [name, cidr] of Object.entries(hostile)) {
      await api.call("setNode", name, { podCIDRs: [cidr], annotations: peer });
    }
    await api.call("setNode", "broken", {
      podCIDRs: ["10.244.5.0/24"],
      annotations: { ...peer, [`${prefix}public-ip`]: "nowhere" },
    });
    await api.call("setNode", "bare", {});
    await api.call("setNode", "n1", {});
    const routes = await n1.sandbox.output("ip", ["route"]);
    const daemon = startOnKube(n1);
    await until(
      "the wait",
      async () => (await answer(n1, "/readyz")).includes("no IPv4 podCIDR yet"),
      daemon,
    );
    expect(await answer(n1, "/readyz")).toContain(" 503 ");
    await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
    await whenReady(n1, daemon);
    for (const name of ["foreign", "ours", "fabric", "broken"]) {
      const refusal = new RegExp(`The peer ${name} is refused: .*\\.\n`);
      await until(`the refusal of ${name}`, () => refusal.test(daemon.log()), daemon);
    }
    expect(await answer(n1, "/metrics")).toMatch(/^flanneld_peers_refused 4$/m);
    expect(await n1.sandbox.output("ip", ["route"])).toBe(routes);
    await daemon.end();
  });

  test("seen 28: a peer that cannot be joined has a line in the log, counts, and is told of by the plan", async () => {
    await using cluster = await createKubeNodes();
    const { api } = cluster;
    const n1 = cluster.node(1);
    await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
    const daemon = startOnKube(n1);
    await whenReady(n1, daemon);
    const own = (await api.call("node", "n1"))?.metadata.annotations[`${prefix}backend-data`];
    const rivalMac = '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}';
    const data: Readonly<Record<string, string | undefined>> = {
      n2: rivalMac,
      "another-vni": '{"VNI":7,"VtepMAC":"02:00:00:00:00:03"}',
      "broken-mac": '{"VNI":1,"VtepMAC":"two"}',
      "broadcast-mac": '{"VNI":1,"VtepMAC":"ff:ff:ff:ff:ff:ff"}',
      "no-data": undefined,
      "own-mac": own,
      "rival-mac": rivalMac,
    };
    const set = async (name: string, backendData: string | undefined): Promise<void> => {
      const at = Object.keys(data).indexOf(name) + 2;
      await api.call("setNode", name, {
        podCIDRs: [`10.244.${at}.0/24`],
        annotations: {
          [`${prefix}kube-subnet-manager`]: "true",
          [`${prefix}backend-type`]: "vxlan",
          [`${prefix}public-ip`]: `10.77.0.${at + 10}`,
          ...(backendData === undefined ? {} : { [`${prefix}backend-data`]: backendData }),
        },
      });
    };
    for (const [name, backendData] of Object.entries(data)) await set(name, backendData);
    const [, ...refused] = Object.keys(data);
    for (const name of refused) {
      const refusal = new RegExp(`The peer ${name} is refused: .*\\.\n`);
      await until(`the refusal of ${name}`, () => refusal.test(daemon.log()), daemon);
    }
    const metrics = await answer(n1, "/metrics");
    expect(metrics).toMatch(/^flanneld_peers_refused 6$/m);
    expect(metrics).toMatch(/^flanneld_peer_refusals_total 6$/m);
    const plan = await n1.sandbox.exec(
      `${binDir()}/flanneld`,
      [
        ...["-kube-subnet-mgr", "-kube-api-url=http://10.77.0.1:6443", "-iface=eth0"],
        ...["-net-config-path=/run/net-conf.json", "-dry-run"],
      ],
      { env: { NODE_NAME: "n1" } },
    );
    for (const name of refused) expect(plan.stdout).toContain(`Would refuse ${name}: `);
    await set("another-vni", '{"VNI":1,"VtepMAC":"02:00:00:00:00:03"}');
    await until(
      "the one that has changed",
      async () => /^flanneld_peers_refused 5$/m.test(await answer(n1, "/metrics")),
      daemon,
    );
    await daemon.end();
  });

  test("an outage, a forgotten version and a killed daemon take no route away", async () => {
    await using cluster = await createKubeNodes();
    const { api } = cluster;
    const n1 = cluster.node(1);
    await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
    await api.call(
      "setNodes",
      20,
      "p",
      {
        [`${prefix}kube-subnet-manager`]: "true",
        [`${prefix}backend-type`]: "vxlan",
        [`${prefix}backend-data`]: '{"VNI":1,"VtepMAC":"%mac"}',
        [`${prefix}public-ip`]: "%ip",
      },
      0,
    );
    const conf = netConf({ ...vxlan, Network: "10.0.0.0/8" });
    await n1.sandbox.writeFile("/run/net-conf.json", conf);
    await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
    const count = async () =>
      (await n1.sandbox.routes(4)).filter(({ dev }) => dev === "flannel.1").length;
    let daemon = startOnKube(n1);
    await until("20 routes", async () => (await count()) === 20, daemon);
    await api.call("stop");
    await daemon.end("SIGKILL");
    daemon = startOnKube(n1);
    await until("the waiting", () => daemon.log().includes("Cannot"), daemon);
    expect(await count()).toBe(20);
    await api.call("deleteNode", "p3");
    await api.call("expire");
    await api.call("start");
    await until("19 routes", async () => (await count()) === 19, daemon);
    await daemon.end();
  });
});

/** flanneld with etcd: leases, subnet.env, readiness, outages. */
import { describe, expect, test } from "vitest";
import { startEtcd, until, type Etcd } from "../../helpers/flanneld.ts";
import {
  createEtcdNodes,
  startOnEtcd,
  subnetEnv,
  whenReady,
  whenWritten,
} from "../../helpers/flanneld_nodes.ts";
import { monitorRoutes } from "../../lab/route_monitor.ts";

const prefix = "/coreos.com/network";

async function subnets(etcd: Etcd) {
  return etcd.entries(`${prefix}/subnets/`);
}

async function leaseCount(etcd: Etcd): Promise<number> {
  return Number(/found (\d+) leases/.exec(await etcd.ctl("lease", "list"))?.[1] ?? "0");
}

describe.concurrent("with etcd", () => {
  test("nodes choose subnets, keep them and one lease over restarts, and follow their address", async () => {
    await using cluster = await createEtcdNodes();
    const { fabric, etcd } = cluster;
    const [n1, n2] = [cluster.node(1), cluster.node(2)];
    let first = startOnEtcd(n1);
    const second = startOnEtcd(n2);
    const env = await whenWritten(n1, first);
    await whenWritten(n2, second);
    const [, third = ""] = /^FLANNEL_SUBNET=10\.244\.(\d+)\.1\/24$/m.exec(env) ?? [];
    const before = (await subnets(etcd)).find(({ key }) => key.endsWith(`10.244.${third}.0-24`));
    expect(before?.value).toMatch(
      /^\{"PublicIP":"10\.77\.0\.11","PublicIPv6":null,"BackendType":"vxlan","BackendData":\{"VNI":1,"VtepMAC":"[\da-f:]{17}"\}\}$/,
    );
    expect(await leaseCount(etcd)).toBe(2);
    await until(
      "the route",
      async () => {
        const routes = await n2.sandbox.routes(4);
        return routes.some(({ dst }) => dst === `10.244.${third}.0/24`);
      },
      second,
    );

    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await first.end(signal);
      first = startOnEtcd(n1);
      await whenReady(n1, first);
      expect(await subnetEnv(n1)).toBe(env);
    }
    expect((await subnets(etcd)).find(({ key }) => key === before?.key)).toEqual(before);
    expect(await leaseCount(etcd)).toBe(2);

    await first.end();
    const move = async (from: string, to: string) => {
      await fabric.router.sh(
        `ip neigh replace ${to} lladdr 02:77:00:00:01:01 dev br0 nud permanent`,
      );
      await n1.sandbox.sh(`
        ip address delete ${from}/24 dev eth0
        ip address add ${to}/24 dev eth0
        ip route replace default via 10.77.0.1
      `);
    };
    await move("10.77.0.11", "10.77.0.91");
    first = startOnEtcd(n1);
    await until(
      "the new address",
      async () => {
        const now = (await subnets(etcd)).find(({ key }) => key === before?.key);
        return now?.value.includes('"PublicIP":"10.77.0.91"') === true;
      },
      first,
    );
    expect(await subnets(etcd)).toHaveLength(2);
    expect(await leaseCount(etcd)).toBe(2);
    await move("10.77.0.91", "10.77.0.92");
    await until(
      "the next address, while it runs",
      async () => {
        const now = (await subnets(etcd)).find(({ key }) => key === before?.key);
        return now?.value.includes('"PublicIP":"10.77.0.92"') === true;
      },
      first,
    );
    await Promise.all([first.end(), second.end()]);
  });

  test("pain 31, seen 22: a reservation stays one, and a deleted or taken key is acquired again", async () => {
    await using cluster = await createEtcdNodes(2, { Backend: { Type: "host-gw" } });
    const { etcd } = cluster;
    const n1 = cluster.node(1);
    const key = `${prefix}/subnets/10.244.77.0-24`;
    await etcd.ctl("put", key, '{"PublicIP":"10.77.0.11"}');
    const daemon = startOnEtcd(n1);
    expect(await whenWritten(n1, daemon)).toContain("FLANNEL_SUBNET=10.244.77.1/24");
    const value = '{"PublicIP":"10.77.0.11","PublicIPv6":null,"BackendType":"host-gw"}';
    expect(await subnets(etcd)).toEqual([{ key, value, lease: "0" }]);
    await etcd.ctl("del", key);
    await until("the key", async () => (await subnets(etcd))[0]?.value === value, daemon);
    const [again] = await subnets(etcd);
    expect(again?.key).toBe(key);
    expect(again?.lease).not.toBe("0");

    await etcd.ctl("lease", "revoke", again?.lease ?? "");
    await until(
      "the key after a revoked lease",
      async () => (await subnets(etcd))[0]?.value === value,
      daemon,
    );
    expect((await subnets(etcd))[0]?.key).toBe(key);

    await etcd.ctl("put", key, '{"PublicIP":"10.77.0.99","BackendType":"host-gw"}');
    await until("another subnet", async () => (await subnets(etcd)).length === 2, daemon);
    await until("subnet.env", async () => !(await subnetEnv(n1)).includes("10.244.77."), daemon);
    expect(await daemon.end()).toBe(0);
  });

  test("pain 32: five nodes that start at once for four subnets: four get one each, one says why not", async () => {
    await using cluster = await createEtcdNodes(5, null);
    const { fabric, etcd } = cluster;
    const daemons = fabric.nodes.map((node) => startOnEtcd(node));
    await until(
      "the wait for a config",
      () =>
        daemons.every(({ log }) => log().includes("there is no key /coreos.com/network/config")),
      ...daemons,
    );
    const conf = {
      Network: "10.244.0.0/24",
      SubnetLen: 27,
      SubnetMin: "10.244.0.64",
      SubnetMax: "10.244.0.160",
    };
    await etcd.ctl(
      "put",
      `${prefix}/config`,
      JSON.stringify({ ...conf, Backend: { Type: "alloc" } }),
    );
    await until(
      "four files",
      async () => {
        const written = await Promise.all(
          fabric.nodes.map(async (node) => (await subnetEnv(node)) !== ""),
        );
        return written.filter(Boolean).length === 4;
      },
      ...daemons,
    );
    await until("the reason", () =>
      daemons.some(({ log }) => log().includes("the network has none free")),
    );
    const envs = await Promise.all(fabric.nodes.map(subnetEnv));
    const own = envs.flatMap((env) => /^FLANNEL_SUBNET=.*$/m.exec(env)?.[0] ?? []);
    expect(new Set(own).size).toBe(4);
    expect(await subnets(etcd)).toHaveLength(4);
    expect(await leaseCount(etcd)).toBe(4);
    const [first] = await subnets(etcd);
    await etcd.ctl("del", first?.key ?? "");
    await until("the taken key", async () => (await subnets(etcd)).length === 4, ...daemons);
    await Promise.all(daemons.map(async (daemon) => daemon.end()));
  });

  test("an etcd that has lost its data gets them back, and no route goes", async () => {
    await using cluster = await createEtcdNodes();
    const { fabric, etcd } = cluster;
    const [n1, n2] = [cluster.node(1), cluster.node(2)];
    const daemons = [startOnEtcd(n1), startOnEtcd(n2)] as const;
    await Promise.all([whenReady(n1, daemons[0]), whenReady(n2, daemons[1])]);
    const routes = async () => n1.sandbox.sh("ip route show dev flannel.1");
    await until("the route", async () => (await routes()) !== "", ...daemons);
    const before = await subnets(etcd);
    const monitor = await monitorRoutes(n1.sandbox);
    await etcd.daemon.end("SIGKILL");
    await fabric.router.sh("rm -r /run/etcd");
    await startEtcd(fabric.router, { url: "http://10.77.0.1:2379" });
    const keysAndValues = (entries: typeof before) => entries.map(({ key, value }) => [key, value]);
    await until(
      "the entries",
      async () => (await subnets(etcd)).length === before.length,
      ...daemons,
    );
    expect(keysAndValues(await subnets(etcd))).toEqual(keysAndValues(before));
    // A node that joins now has an entry of a revision that has been before.
    const value =
      '{"PublicIP":"10.77.0.13","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:13"}}';
    await etcd.ctl("put", `${prefix}/subnets/10.244.254.0-24`, value);
    await until("the new node", async () => (await routes()).includes("10.244.254.0"), ...daemons);
    expect((await monitor.stop()).join("\n")).not.toContain("Deleted");
    for (const daemon of daemons) expect(await daemon.end()).toBe(0);
  });

  test("pain 30: an etcd that was down, is compacted or restarted is followed again", async () => {
    await using cluster = await createEtcdNodes();
    const { fabric, etcd } = cluster;
    const n1 = cluster.node(1);
    const daemon = startOnEtcd(n1);
    await whenWritten(n1, daemon);
    const put = async (third: number) =>
      etcd.ctl(
        ...["put", `${prefix}/subnets/10.244.${third}.0-24`],
        `{"PublicIP":"10.77.0.${third}","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:02:${third - 200 + 10}"}}`,
      );
    const routes = async () =>
      (await n1.sandbox.routes(4)).filter(({ dev }) => dev === "flannel.1").map(({ dst }) => dst);
    await put(201);
    await until("the first peer", async () => (await routes()).length === 1, daemon);
    await etcd.daemon.end("SIGKILL");
    await until("the outage", () => daemon.log().includes("Cannot watch"), daemon);
    const again = await startEtcd(fabric.router, { url: "http://10.77.0.1:2379" });
    await put(202);
    await etcd.ctl("del", `${prefix}/subnets/10.244.201.0-24`);
    for (let at = 0; at < 5; at++) await put(203);
    const revision = /"revision":(\d+)/.exec(await etcd.ctl("get", "x", "-w", "json"))?.[1] ?? "";
    await etcd.ctl("compact", revision);
    await until("two peers", async () => (await routes()).length === 2, daemon, again.daemon);
    expect((await routes()).toSorted()).toEqual(["10.244.202.0/24", "10.244.203.0/24"]);
    expect(await daemon.end()).toBe(0);
  });
});

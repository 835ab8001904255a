/** flanneld starts where something is missing or wrong: it says what, once, waits, and goes on. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { binDir, cni } from "../../helpers/cni.ts";
import { startEtcd, until, type Daemon } from "../../helpers/flanneld.ts";
import type { FabricNode } from "../../lab/fabric.ts";
import {
  answer,
  createEtcdNodes,
  createKubeNodes,
  netConf,
  startOnEtcd,
  startOnKube,
  subnetEnv,
  vxlan,
  whenReady,
  type KubeNodes,
} from "../../helpers/flanneld_nodes.ts";

async function whenSaid(daemon: Daemon, text: string): Promise<void> {
  await until(`"${text}"`, () => daemon.log().includes(text), daemon);
}

/** How often it has said each of the things that contain a text. */
function countsOf(daemon: Daemon, text: string): readonly number[] {
  const lines = daemon
    .log()
    .split("\n")
    .filter((line) => line.includes(text));
  const messages = Object.groupBy(lines, (line) => line.replace(/^\S+ \S+ .*?\] /, ""));
  return Object.values(messages).map((same = []) => same.length);
}

describe("on a node of the Kubernetes API", () => {
  let cluster: KubeNodes;
  beforeAll(async () => {
    cluster = await createKubeNodes(1);
    // A link without a MAC, as a VPN makes it.
    await cluster.node(1).sandbox.sh("ip tuntap add tun0 mode tun; ip link set tun0 up");
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  /** Waits until it says why it waits, mends that, and waits until all is well. */
  async function expectPatience(
    why: string,
    mend: () => Promise<unknown>,
    args: readonly string[] = [],
  ): Promise<void> {
    const node = cluster.node(1);
    const daemon = startOnKube(node, ...args);
    try {
      await whenSaid(daemon, why);
      expect(await answer(node, "/readyz")).toMatch(/ 503 [^]*\.\s*$/);
      expect(await answer(node, "/healthz")).toContain(" 200 ");
      await mend();
      await whenReady(node, daemon);
      expect(countsOf(daemon, why)).toEqual([1]);
    } finally {
      expect(await daemon.end()).toBe(0);
    }
    await node.sandbox.remove("/run/flannel/subnet.env");
  }

  test("pain 13, seen 18: the API server is down", async () => {
    await cluster.api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
    await cluster.api.call("stop");
    await expectPatience("Cannot read the node n1: ", async () => cluster.api.call("start"));
  });

  test("seen 24: the Node object is missing", async () => {
    await cluster.api.call("deleteNode", "n1");
    await expectPatience("the API answered 404", async () =>
      cluster.api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] }),
    );
  });

  test("seen 25: the Node object has no annotation", async () => {
    const { api } = cluster;
    const ttl = "node.alpha.kubernetes.io/ttl";
    await api.call("deleteNode", "n1");
    await expectPatience("the API answered 404", async () => {
      const annotations = { [ttl]: null };
      await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"], annotations });
    });
    expect(Object.keys((await api.call("node", "n1"))?.metadata.annotations ?? {})).not.toContain(
      ttl,
    );
  });

  test("pain 1, pain 2, seen 23: the Node object has no podCIDR", async () => {
    const { api } = cluster;
    const node = cluster.node(1);
    await node.sandbox.addPod("pod");
    const add = async () =>
      cni(node.sandbox, {
        ...{ bin: binDir(), plugin: "flannel", command: "ADD", netns: "/run/netns/pod" },
        conf: { cniVersion: "1.0.0", name: "cbr0", type: "flannel" },
      });
    await api.call("deleteNode", "n1");
    await api.call("setNode", "n1", {});
    await expectPatience("it has no IPv4 podCIDR yet", async () => {
      const refused = await add();
      expect(refused.json?.msg).toContain("there is no /run/flannel/subnet.env");
      expect(refused.json?.details).toContain("flanneld");
      const { stdout } = await node.sandbox.exec(`${binDir()}/flanneld`, ["status"]);
      expect(stdout).toMatch(/^! .* n1: it has no IPv4 podCIDR yet\.$/m);
      // What kubectl describe node shows.
      await until("the event", async () => (await api.call("toldEvents")).length > 0);
      expect(await api.call("toldEvents")).toMatchObject([
        { involvedObject: { name: "n1" }, message: expect.stringContaining("no IPv4 podCIDR yet") },
      ]);
      await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
      await until("the pod", async () => (await add()).code === 0);
    });
    await node.sandbox.sh("ip netns delete pod; ip link delete cni0");
  });

  test("pain 23, seen 26: the podCIDR is outside of the network", async () => {
    const { api } = cluster;
    await api.call("deleteNode", "n1");
    await api.call("setNode", "n1", { podCIDRs: ["192.168.7.0/24"] });
    const why = "podCIDR 192.168.7.0/24 is outside of the network 10.244.0.0/16";
    await expectPatience(why, async () => {
      await api.call("deleteNode", "n1");
      await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
    });
  });

  test("pain 19: br_netfilter is not loaded, which nftables does without", async () => {
    const { sandbox } = cluster.node(1);
    await sandbox.sh("mount -t tmpfs none /proc/sys/net/bridge");
    await expectPatience("modprobe br_netfilter", async () => {
      // The pods' network is there all the same.
      await until("subnet.env", async () => (await subnetEnv(cluster.node(1))) !== "");
      await sandbox.sh("umount /proc/sys/net/bridge");
    });
    await sandbox.sh("mount -t tmpfs none /proc/sys/net/bridge");
    const conf = netConf({ ...vxlan, EnableNFTables: true });
    await sandbox.writeFile("/run/nftables.json", conf);
    const daemon = startOnKube(cluster.node(1), "-net-config-path=/run/nftables.json");
    await whenReady(cluster.node(1), daemon);
    expect(daemon.log()).not.toContain("br_netfilter");
    await daemon.end();
    await sandbox.sh("umount /proc/sys/net/bridge");
  });

  test("seen 30: the interface is missing, or the config makes no sense", async () => {
    const { sandbox } = cluster.node(1);
    const wrong = [
      ["{", "must be JSON"],
      ['{"Network":"10.244.0.0/33"}', "Network"],
      ['{"Network":"10.244.0.0/16","Backend":{"Type":"carrier-pigeon"}}', "carrier-pigeon"],
    ] as const;
    const daemons = await Promise.all(
      wrong.map(async ([conf], at) => {
        await sandbox.writeFile(`/run/${at}.json`, conf);
        return startOnKube(
          cluster.node(1),
          ...[`-net-config-path=/run/${at}.json`, `-subnet-file=/run/${at}/env`, "-healthz-port=0"],
        );
      }),
    );
    for (const [at, daemon] of daemons.entries()) await whenSaid(daemon, wrong[at]?.[1] ?? "");
    await sandbox.writeFile("/run/0.json", netConf(vxlan));
    const [mended, ...waiting] = daemons;
    if (mended === undefined) throw new Error("there are three");
    await until("subnet.env", async () => sandbox.exists("/run/0/env"), mended);
    for (const daemon of daemons) expect(await daemon.end()).toBe(0);
    for (const { log } of waiting) expect(log().split("\n").filter(isWarning)).toHaveLength(1);
    await expectPatience(
      "there is no interface eth7",
      async () =>
        sandbox.sh(
          "ip link add eth7 type bridge; ip address add 10.77.7.1/24 dev eth7; ip link set eth7 up",
        ),
      ["-iface=eth7"],
    );
  });
});

/** What `flanneld status`, `flanneld check` and /readyz say, and the exit statuses. */
async function toldBy(node: FabricNode) {
  const run = async (command: string) => node.sandbox.exec(`${binDir()}/flanneld`, [command]);
  const [status, check] = [await run("status"), await run("check")];
  return {
    codes: [status.exitCode, check.exitCode],
    texts: [status.stdout, check.stdout, await answer(node, "/readyz")],
  };
}

/** Waits until all is well, or until all say what is waited for; ready it stays. */
async function whenTold(node: FabricNode, daemon: Daemon, why: string | undefined): Promise<void> {
  await until(
    why ?? "health",
    async () => {
      const { codes, texts } = await toldBy(node);
      return why === undefined
        ? codes.every((code) => code === 0) && texts[2]?.endsWith("flanneld is ready") === true
        : codes.every((code) => code === 1) && texts.every((text) => text.includes(why));
    },
    daemon,
  );
  expect(await answer(node, "/readyz")).toContain(" 200 ");
}

function rename(from: string, to: string): string {
  return `ip link set ${from} down; ip link set ${from} name ${to}; ip link set ${to} up`;
}

test("what is waited for once the network is up: the interface, etcd", async () => {
  await using cluster = await createEtcdNodes(1);
  const { etcd, fabric } = cluster;
  const node = cluster.node(1);
  const daemon = startOnEtcd(node);
  await whenReady(node, daemon);
  await whenTold(node, daemon, undefined);
  await node.sandbox.sh(rename("eth0", "eth9"));
  await whenTold(node, daemon, "there is no interface eth0");
  await node.sandbox.sh(rename("eth9", "eth0"));
  await whenTold(node, daemon, undefined);
  await etcd.daemon.end("SIGKILL");
  await whenTold(node, daemon, "in etcd: ");
  await startEtcd(fabric.router, { url: "http://10.77.0.1:2379" });
  await whenTold(node, daemon, undefined);
  expect(await daemon.end()).toBe(0);
});

test("the port of /healthz is another process's for a while", async () => {
  await using cluster = await createEtcdNodes(1);
  const node = cluster.node(1);
  const occupant = startOnEtcd(node, "-etcd-prefix=/none", "-subnet-file=/run/occupant/subnet.env");
  await until("/healthz", async () => (await answer(node, "/healthz")).includes(" 200 "), occupant);
  const why = "Cannot answer at 0.0.0.0, port 8081: ";
  const ends = startOnEtcd(node);
  await whenSaid(ends, why);
  expect(await ends.end()).toBe(0);
  const daemon = startOnEtcd(node);
  await until("subnet.env", async () => (await subnetEnv(node)) !== "", daemon);
  await until(
    "the reason",
    async () => {
      const { codes, texts } = await toldBy(node);
      return codes.every((code) => code === 1) && texts.slice(0, 2).every((t) => t.includes(why));
    },
    daemon,
  );
  await occupant.end();
  await whenTold(node, daemon, undefined);
  expect(countsOf(daemon, why)).toEqual([1]);
  expect(await daemon.end()).toBe(0);
});

const isWarning = (line: string): boolean => line.includes("Trying again until it works");

test("pain 44, seen 20, seen 21: etcd is down, has no config, or one that cannot be", async () => {
  await using cluster = await createEtcdNodes(1, null);
  const { etcd, fabric } = cluster;
  await etcd.daemon.end("SIGKILL");
  const node = cluster.node(1);
  const daemon = startOnEtcd(node);
  await whenSaid(daemon, "Cannot read /coreos.com/network/config in etcd: connect");
  await startEtcd(fabric.router, { url: "http://10.77.0.1:2379" });
  await whenSaid(daemon, "there is no key /coreos.com/network/config in etcd");
  const put = async (conf: object) => etcd.ctl("put", "/coreos.com/network/config", netConf(conf));
  await put({ ...vxlan, SubnetMin: "10.244.5.7" });
  await whenSaid(daemon, "SubnetMin");
  expect(await answer(node, "/readyz")).toContain("SubnetMin");
  await put({ ...vxlan, SubnetMin: "10.244.5.0", SubnetMax: "10.244.5.0" });
  await whenReady(node, daemon);
  expect(await subnetEnv(node)).toContain("FLANNEL_SUBNET=10.244.5.1/24");
  for (const why of [
    "Cannot read /coreos.com/network/config in etcd: connect",
    "there is no key",
    "SubnetMin",
  ]) {
    // Of several endpoints each may be what it could not connect to.
    expect(new Set(countsOf(daemon, why))).toEqual(new Set([1]));
  }
  expect(await daemon.end()).toBe(0);
});

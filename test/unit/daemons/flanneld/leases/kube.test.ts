/** The lease manager of the Kubernetes API, against a stand-in for it that fails as it is told. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";

import { KubeLeaseManager } from "../../../../../daemons/flanneld/leases/kube.ts";
import type { PeerLeases } from "../../../../../daemons/flanneld/leases/lease_manager.ts";
import { readOptions } from "../../../../../daemons/flanneld/options.ts";
import type { KubeOptions } from "../../../../../daemons/flanneld/options.ts";
import { Churn } from "../../../../../shared/daemon/churn.ts";
import type { Lease, LeaseAttributes } from "../../../../../shared/flannel/lease.ts";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { formatCidr } from "../../../../../shared/net/cidr.ts";
import { KubeApi } from "../../../../lab/kube_api.ts";
import type { NodeSpec } from "../../../../lab/kube_api.ts";
import { recordingLog } from "../../../shared/daemon/recording_log.ts";

const f = "flannel.alpha.coreos.com/";
const vxlan4: LeaseAttributes = {
  publicIp: parseAddress("10.77.0.11"),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: "b2:27:63:ca:a8:ba" },
  backendV6Data: undefined,
};
const peer2 = {
  [`${f}kube-subnet-manager`]: "true",
  [`${f}backend-type`]: "vxlan",
  [`${f}backend-data`]: '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
  [`${f}public-ip`]: "10.77.0.12",
};

interface Setup {
  readonly conf?: object;
  readonly own?: NodeSpec | undefined;
  readonly args?: readonly string[];
  readonly env?: Record<string, string>;
  /** That of the test's own context, where it runs beside others. */
  readonly atEnd?: typeof onTestFinished;
}

async function setUp(setup: Setup = {}) {
  const { conf, own = { podCIDRs: ["10.244.1.0/24"] }, args = [], env } = setup;
  const { atEnd = onTestFinished } = setup;
  const folder = mkdtempSync(join(tmpdir(), "kube-test-"));
  const netConf = join(folder, "net-conf.json");
  writeFileSync(
    netConf,
    JSON.stringify({ Network: "10.244.0.0/16", Backend: { Type: "vxlan" }, ...conf }),
  );
  const api = new KubeApi();
  await api.start();
  const controller = new AbortController();
  atEnd(async () => {
    controller.abort();
    await api.stop();
    rmSync(folder, { recursive: true });
  });
  api.setNode("n1", own);
  const request = readOptions(
    ["-kube-subnet-mgr", `-kube-api-url=${api.url}`, `-net-config-path=${netConf}`, ...args],
    env ?? { NODE_NAME: "n1" },
  );
  if (request.action !== "run") throw new Error(request.action);
  const { log, lines } = recordingLog();
  const manager = new KubeLeaseManager(
    request.options.leases as KubeOptions,
    {},
    log,
    new Churn(() => undefined),
  );
  const { signal } = controller;
  const peers = { calls: 0, last: undefined as PeerLeases | undefined, own: [] as Lease[] };
  const watch = () => {
    const listener = {
      onPeers: (now: PeerLeases) => {
        peers.calls++;
        peers.last = now;
      },
      onOwn: (lease: Lease) => {
        peers.own.push(lease);
      },
    };
    void untilAborted(manager.watch(listener, signal), signal);
  };
  const acquire = async (attributes = vxlan4) => {
    await manager.config(signal);
    return manager.acquire(attributes, signal);
  };
  return { api, manager, signal, lines, peers, watch, acquire, netConf };
}

async function untilAborted(watching: Promise<void>, signal: AbortSignal): Promise<void> {
  try {
    await watching;
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Waits for what a test expects to come true. Some of it comes after a back-off of five seconds. */
async function eventually(check: () => void): Promise<void> {
  await vi.waitFor(check, { timeout: 60_000, interval: 10 });
}

function annotationsOf(api: KubeApi): Record<string, string> {
  const all = Object.entries(api.node("n1")?.metadata.annotations ?? {});
  return Object.fromEntries(
    all.filter(([key]) => key.startsWith(f)).map(([key, value]) => [key.slice(f.length), value]),
  );
}

const names = (peers: { last: PeerLeases | undefined }) =>
  [...(peers.last?.leases.keys() ?? [])].toSorted();

describe.concurrent("the own lease", () => {
  test("is what the node's podCIDR says, told to the peers by annotations", async ({
    onTestFinished: atEnd,
  }) => {
    const { api, acquire } = await setUp({ atEnd });
    const lease = await acquire();
    expect([lease.id, lease.subnet && formatCidr(lease.subnet), lease.subnetV6]).toEqual([
      "n1",
      "10.244.1.0/24",
      undefined,
    ]);
    expect(annotationsOf(api)).toEqual({
      "kube-subnet-manager": "true",
      "backend-type": "vxlan",
      "backend-data": '{"VNI":1,"VtepMAC":"b2:27:63:ca:a8:ba"}',
      "public-ip": "10.77.0.11",
    });
  });

  test("is of both families, or of IPv6 alone", async ({ onTestFinished: atEnd }) => {
    const v6 = { EnableIPv6: true, IPv6Network: "fd00:244::/48" };
    const own = { podCIDRs: ["fd00:244:0:1::/64", "10.244.1.0/24"] };
    const attributes = {
      ...vxlan4,
      publicIpv6: parseAddress("fd77::11"),
      backendV6Data: { VNI: 1, VtepMAC: "66:51:f4:06:c8:84" },
    };
    const dual = await setUp({ atEnd, conf: v6, own });
    const lease = await dual.acquire(attributes);
    expect([lease.subnet, lease.subnetV6].map((cidr) => cidr && formatCidr(cidr))).toEqual([
      "10.244.1.0/24",
      "fd00:244:0:1::/64",
    ]);
    expect(annotationsOf(dual.api)).toMatchObject({
      "backend-v6-data": '{"VNI":1,"VtepMAC":"66:51:f4:06:c8:84"}',
      "public-ipv6": "fd77::11",
      "public-ip": "10.77.0.11",
    });
    const only6 = await setUp({ atEnd, conf: { ...v6, EnableIPv4: false }, own });
    await only6.acquire({ ...attributes, publicIp: undefined, backendData: undefined });
    expect(Object.keys(annotationsOf(only6.api)).toSorted()).toEqual([
      "backend-type",
      "backend-v6-data",
      "kube-subnet-manager",
      "public-ipv6",
    ]);
  });

  test("of a backend without data has null for it", async ({ onTestFinished: atEnd }) => {
    const { api, acquire } = await setUp({ atEnd });
    await acquire({ ...vxlan4, backendType: "host-gw", backendData: undefined });
    expect(annotationsOf(api)).toMatchObject({ "backend-type": "host-gw", "backend-data": "null" });
  });

  test("is waited for: no podCIDR, no node, no API, no config; each said once", async ({
    onTestFinished: atEnd,
  }) => {
    const { api, acquire, lines, manager } = await setUp({ atEnd, own: {} });
    api.deleteNode("n1");
    const acquired = acquire();
    await eventually(() => expect(lines.join("\n")).toContain("the API answered 404"));
    api.setNode("n1", {});
    await eventually(() => expect(lines.join("\n")).toContain("it has no IPv4 podCIDR yet"));
    expect(manager.health.problem).toContain("it has no IPv4 podCIDR yet");
    api.setNode("n1", { podCIDRs: ["192.168.7.0/24"] });
    await eventually(() =>
      expect(lines.join("\n")).toContain("outside of the network 10.244.0.0/16"),
    );
    await api.stop();
    await eventually(() =>
      expect(lines.join("\n")).toMatch(/ECONNREFUSED|socket hang up|ECONNRESET/),
    );
    api.setNode("n1", { podCIDRs: ["10.244.1.0/24"] });
    await api.start();
    expect(formatCidr((await acquired).subnet ?? expect.fail())).toBe("10.244.1.0/24");
    expect(manager.health.problem).toBeUndefined();
    expect(lines.filter((line) => line.includes("no IPv4 podCIDR"))).toHaveLength(1);
  });

  test("is not patched where nothing has changed, and keeps what an earlier run published", async ({
    onTestFinished: atEnd,
  }) => {
    const { api, acquire, manager, signal } = await setUp({ atEnd });
    await acquire();
    api.requests.length = 0;
    expect(await manager.earlier(undefined, signal)).toEqual({
      backendType: "vxlan",
      backendData: vxlan4.backendData,
      backendV6Data: undefined,
    });
    await acquire();
    expect(api.requests.filter((line) => line.startsWith("PATCH"))).toEqual([]);
    await manager.publish({ ...vxlan4, publicIp: parseAddress("10.77.0.99") }, signal);
    expect(annotationsOf(api)["public-ip"]).toBe("10.77.0.99");
  });

  test("tells the peers what the administrator has set instead", async ({
    onTestFinished: atEnd,
  }) => {
    const own = {
      podCIDRs: ["10.244.1.0/24"],
      annotations: {
        [`${f}public-ip-overwrite`]: "203.0.113.7",
        [`${f}node-public-ip`]: "10.77.0.1",
        [`${f}iface`]: "eth1",
        [`${f}iface-regex`]: "^10[.]",
        [`${f}mtu`]: "1400",
      },
    };
    const { api, acquire, manager, signal } = await setUp({ atEnd, own });
    await manager.config(signal);
    expect(await manager.settings(signal)).toEqual({
      publicIp: parseAddress("10.77.0.1"),
      publicIpv6: undefined,
      iface: "eth1",
      ifaceRegex: "^10[.]",
      mtu: 1400,
    });
    const { attributes } = await acquire();
    expect(attributes.publicIp).toEqual(parseAddress("203.0.113.7"));
    expect(annotationsOf(api)["public-ip"]).toBe("203.0.113.7");
  });

  test("has another prefix where one is given", async ({ onTestFinished: atEnd }) => {
    const { api, acquire } = await setUp({
      atEnd,
      args: ["-kube-annotation-prefix=example.com/net"],
    });
    await acquire();
    expect(api.node("n1")?.metadata.annotations).toMatchObject({
      "example.com/net-backend-type": "vxlan",
      "example.com/net-public-ip": "10.77.0.11",
    });
  });

  test("comes back on a node that was made anew, or that somebody has cleaned", async ({
    onTestFinished: atEnd,
  }) => {
    const { api, acquire, watch, peers, manager, signal } = await setUp({ atEnd });
    await acquire();
    watch();
    await manager.reportReady(signal);
    await eventually(() => expect(peers.last?.complete).toBe(true));
    api.setNode("n1", { annotations: { [`${f}backend-data`]: null } });
    await eventually(() => expect(annotationsOf(api)["backend-data"]).toContain("b2:27"));
    api.setNode("n1", { uid: "another", podCIDRs: ["10.244.9.0/24"] });
    await eventually(() => expect(annotationsOf(api)["public-ip"]).toBe("10.77.0.11"));
    await eventually(() =>
      expect(peers.own.at(-1)?.subnet?.address).toEqual(parseAddress("10.244.9.0")),
    );
    await eventually(() =>
      expect(api.node("n1")?.status.conditions).toContainEqual(
        expect.objectContaining({ type: "NetworkUnavailable", status: "False" }),
      ),
    );
  });

  test("is of the node that the pod is on", async ({ onTestFinished: atEnd }) => {
    const { api, acquire, lines } = await setUp({
      atEnd,
      env: { POD_NAMESPACE: "s", POD_NAME: "p" },
    });
    const acquired = acquire();
    await eventually(() => expect(lines.join("\n")).toContain("Cannot read the pod s/p"));
    api.setPod("s", "p", "n1");
    expect((await acquired).id).toBe("n1");
  });

  test("cannot be without a name", async ({ onTestFinished: atEnd }) => {
    await expect(setUp({ atEnd, env: {} })).rejects.toThrow("Cannot tell which node this is");
  });
});

describe.concurrent("the condition", () => {
  test("is told, and tried again until it is", async ({ onTestFinished: atEnd }) => {
    const { api, manager, signal } = await setUp({ atEnd });
    api.fail({ match: "^PATCH", status: 500, times: 2 });
    await manager.reportReady(signal);
    expect(api.node("n1")?.status.conditions[0]).toEqual({
      type: "NetworkUnavailable",
      status: "False",
      reason: "FlannelIsUp",
      message: "Flannel is running on this node",
      lastTransitionTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      lastHeartbeatTime: expect.stringMatching(/Z$/),
    });
  });

  test("is left alone with -set-node-network-unavailable=false", async ({
    onTestFinished: atEnd,
  }) => {
    const { api, manager, signal } = await setUp({
      atEnd,
      args: ["-set-node-network-unavailable=false"],
    });
    await manager.reportReady(signal);
    expect(api.requests).toEqual([]);
  });
});

describe.concurrent("the peers", () => {
  test("come, change and go", async ({ onTestFinished: atEnd }) => {
    const { api, watch, peers } = await setUp({ atEnd });
    api.setNode("n2", { podCIDRs: ["10.244.2.0/24"], annotations: peer2 });
    api.setNode("stranger", { podCIDRs: ["10.244.7.0/24"] });
    watch();
    await eventually(() => expect(peers.last?.complete).toBe(true));
    expect(names(peers)).toEqual(["n2"]);
    expect(peers.last?.leases.get("n2")).toMatchObject({
      subnet: { prefix: 24 },
      attributes: { backendType: "vxlan", backendData: { VtepMAC: "02:00:00:00:00:02" } },
    });
    api.setNode("n3", { podCIDRs: ["10.244.3.0/24"], annotations: peer2 });
    await eventually(() => expect(names(peers)).toEqual(["n2", "n3"]));
    const [before, calls] = [peers.last?.leases.get("n2"), peers.calls];
    api.touch("n2");
    api.touch("n3");
    api.bookmark();
    api.setNode("n3", { annotations: { [`${f}public-ip`]: "10.77.0.33" } });
    await eventually(() =>
      expect(peers.last?.leases.get("n3")?.attributes.publicIp).toEqual(parseAddress("10.77.0.33")),
    );
    expect(peers.calls).toBe(calls + 1);
    expect(peers.last?.leases.get("n2")).toBe(before);
    api.setNode("n3", { annotations: { [`${f}kube-subnet-manager`]: null } });
    api.deleteNode("n2");
    await eventually(() => expect(names(peers)).toEqual([]));
    expect(api.requests.filter((line) => line.includes("/nodes/"))).toEqual([]);
  });

  test("are looked up where managedFields do not name their subnet", async ({
    onTestFinished: atEnd,
  }) => {
    const { api, watch, peers } = await setUp({ atEnd });
    for (let at = 2; at < 12; at++) {
      const podCIDRs = [`10.244.${at}.0/24`];
      api.setNode(`n${at}`, { podCIDRs, annotations: peer2, managedFields: false });
    }
    api.fail({ match: "/nodes/n3$", status: 500, times: 2 });
    watch();
    await eventually(() => expect(peers.last?.complete).toBe(true));
    expect(names(peers)).toHaveLength(10);
    expect(peers.last?.leases.get("n3")?.subnet?.address).toEqual(parseAddress("10.244.3.0"));
  });

  test("that are made anew have their new subnet", async ({ onTestFinished: atEnd }) => {
    const { api, watch, peers } = await setUp({ atEnd });
    api.setNode("n2", { podCIDRs: ["10.244.2.0/24"], annotations: peer2, managedFields: false });
    watch();
    await eventually(() => expect(names(peers)).toEqual(["n2"]));
    api.setNode("n2", {
      uid: "x",
      podCIDRs: ["10.244.5.0/24"],
      annotations: peer2,
      managedFields: false,
    });
    await eventually(() =>
      expect(peers.last?.leases.get("n2")?.subnet?.address).toEqual(parseAddress("10.244.5.0")),
    );
  });

  test("whose managedFields lie are found out when somebody doubts them", async ({
    onTestFinished: atEnd,
  }) => {
    const { api, watch, peers, manager, signal } = await setUp({ atEnd });
    const lie = [{ fieldsV1: { "f:spec": { "f:podCIDRs": { 'v:"10.244.2.0/24"': {} } } } }];
    api.setNode("liar", { podCIDRs: ["10.244.9.0/24"], annotations: peer2, managedFields: lie });
    api.setNode("n2", { podCIDRs: ["10.244.2.0/24"], annotations: peer2 });
    watch();
    await eventually(() => expect(names(peers)).toEqual(["liar", "n2"]));
    expect(peers.last?.leases.get("liar")?.subnet?.address).toEqual(parseAddress("10.244.2.0"));
    manager.confirm(["liar", "n2"], signal);
    await eventually(() =>
      expect(peers.last?.leases.get("liar")?.subnet?.address).toEqual(parseAddress("10.244.9.0")),
    );
    const looked = api.requests.length;
    manager.confirm(["liar", "n2"], signal);
    expect(api.requests).toHaveLength(looked);
  });

  test.for<[Record<string, string>, string]>([
    [{ [`${f}public-ip`]: "10.0.0.300" }, "its annotation public-ip must be an IPv4 address"],
    [{ [`${f}public-ip`]: "fd00::1" }, "its annotation public-ip must be an IPv4 address"],
    [{ [`${f}backend-data`]: "{" }, "its annotation backend-data must be JSON"],
    [{ [`${f}backend-data`]: "[".repeat(9) + "]".repeat(9) }, "backend-data is nested too deep"],
    [{ [`${f}backend-v6-data`]: "\u0000" }, "its annotation backend-v6-data must be JSON"],
  ])(
    "that make no sense are told apart: %j",
    async ([annotations, why], { onTestFinished: atEnd }) => {
      const { api, watch, peers } = await setUp({ atEnd });
      api.setNode("n2", { podCIDRs: ["10.244.2.0/24"], annotations: { ...peer2, ...annotations } });
      watch();
      await eventually(() => expect(peers.last?.complete).toBe(true));
      expect(names(peers)).toEqual([]);
      expect(peers.last?.unreadable.get("n2")).toContain(why);
      api.setNode("n2", { annotations: peer2 });
      if (!(`${f}backend-v6-data` in annotations)) {
        await eventually(() => expect(names(peers)).toEqual(["n2"]));
        expect(peers.last?.unreadable.size).toBe(0);
      }
    },
  );
});

async function withTwo(atEnd?: typeof onTestFinished) {
  const all = await setUp(atEnd === undefined ? {} : { atEnd });
  all.api.setNode("n2", { podCIDRs: ["10.244.2.0/24"], annotations: peer2 });
  all.api.setNode("n3", { podCIDRs: ["10.244.3.0/24"], annotations: peer2 });
  all.watch();
  await eventually(() => expect(names(all.peers)).toEqual(["n2", "n3"]));
  return all;
}

function lists(api: KubeApi): string[] {
  return api.requests.filter((line) => line.startsWith("GET /api/v1/nodes?resourceVersion"));
}

describe.concurrent("a failing API", () => {
  test("that has forgotten the version is asked for all again, and what is gone goes", async ({
    onTestFinished: atEnd,
  }) => {
    const { api, peers } = await withTwo(atEnd);
    await api.stop();
    api.deleteNode("n2");
    api.expire();
    await api.start();
    await eventually(() => expect(names(peers)).toEqual(["n3"]));
    expect(lists(api)).toHaveLength(2);
    expect(lists(api)[0]).toContain("resourceVersion=0");
  });

  test("whose list is cut off takes nobody away", async ({ onTestFinished: atEnd }) => {
    const { api, peers } = await withTwo(atEnd);
    api.fail({ match: "nodes\\?resourceVersion", cut: 700, times: 3 });
    api.fail({ match: "watch=true", status: 410, reason: "Expired", times: 1 });
    const seen: string[][] = [];
    await api.restart();
    await eventually(() => {
      seen.push(names(peers));
      expect(lists(api).length).toBeGreaterThan(3);
    });
    await eventually(() => expect(peers.last?.complete).toBe(true));
    expect(seen.every((now) => now.length === 2)).toBe(true);
  });

  test("that restarts is watched from where it was", async ({ onTestFinished: atEnd }) => {
    const { api, peers } = await withTwo(atEnd);
    await api.stop();
    api.setNode("n4", { podCIDRs: ["10.244.4.0/24"], annotations: peer2 });
    api.fail({ match: "watch", status: 403, reason: "Forbidden", times: 2 });
    await api.start();
    await eventually(() => expect(names(peers)).toEqual(["n2", "n3", "n4"]));
    expect(lists(api)).toHaveLength(1);
  });

  test("that answers nonsense is asked again, and no more often than the waits allow", async ({
    onTestFinished: atEnd,
  }) => {
    const { api, peers, lines } = await withTwo(atEnd);
    api.fail({ match: "watch=true", body: "nonsense}" });
    api.fail({ match: "watch=true", body: "" });
    api.fail({ match: "watch=true", body: '{"type":1}' });
    api.fail({ match: "watch=true", hangUp: true });
    await api.restart();
    api.setNode("n5", { podCIDRs: ["10.244.5.0/24"], annotations: peer2 });
    await eventually(() => expect(names(peers)).toContain("n5"));
    expect(lines.join("\n")).toContain("there is a bracket too many");
  });

  test("that is busy says when to come back", async ({ onTestFinished: atEnd }) => {
    const { api, watch, peers } = await setUp({ atEnd });
    api.fail({ match: "resourceVersion", status: 429, headers: { "retry-after": "1" } });
    const started = Date.now();
    watch();
    await eventually(() => expect(peers.last?.complete).toBe(true));
    expect(Date.now() - started).toBeGreaterThanOrEqual(1000);
  });
});

test("an API that says nothing more is asked anew, and nobody goes meanwhile", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { setTimeout: fake } = globalThis;
  const waits: (number | undefined)[] = [];
  // A spy of vitest's would put the fake one back again when the file ends.
  globalThis.setTimeout = Object.assign((...args: Parameters<typeof fake>) => {
    waits.push(args[1]);
    return fake(...args);
  }, fake);
  onTestFinished(() => {
    globalThis.setTimeout = fake;
    vi.useRealTimers();
  });
  const { api, peers, lines } = await withTwo();
  await eventually(() => expect(waits).toContain(150_000));
  api.silence();
  api.setNode("n4", { podCIDRs: ["10.244.4.0/24"], annotations: peer2 });
  vi.advanceTimersByTime(150_000);
  await eventually(() => expect(names(peers)).toEqual(["n2", "n3", "n4"]));
  expect(lines.join("\n")).toContain("nothing came for 150 s");
  expect(lists(api)).toHaveLength(1);

  api.fail({ match: "nodes\\?resourceVersion", stall: 700 });
  api.expire();
  await eventually(() => expect(lists(api)).toHaveLength(2));
  api.deleteNode("n3");
  expect(names(peers)).toEqual(["n2", "n3", "n4"]);
  vi.advanceTimersByTime(30_000);
  await eventually(() => expect(names(peers)).toEqual(["n2", "n4"]));
  expect(lines.join("\n")).toContain("nothing came for 30 s");
});

/**
 * What flanneld tells the peers, the Kubernetes API and the plugin, beside what the Go flanneld 0.28
 * tells with the same config: annotations, the condition, values in etcd, and subnet.env.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../../helpers/flanneld.ts";
import { isBun } from "../../helpers/form.ts";
import { toldByGo, withoutIdentity } from "../../helpers/told.ts";
import {
  createEtcdNodes,
  createKubeNodes,
  netConf,
  prefix,
  startOnEtcd,
  startOnKube,
  subnetEnv,
  whenReady,
  type EtcdNodes,
  type KubeNodes,
} from "../../helpers/flanneld_nodes.ts";

const networks6 = { EnableIPv6: true, IPv6Network: "fd00:244::/48" };
const vxlan = { Type: "vxlan" };
/** What JSON may write in several ways. */
const extension = {
  Type: "extension",
  PreStartupCommand: String.raw`printf a<b>&\042\n\342\200\250\303\251\134`,
};
const configs: Readonly<Record<string, object>> = {
  vxlan: { Backend: vxlan },
  "vxlan-options": {
    Backend: { ...vxlan, VNI: 4096, Port: 4789, MTU: 1400, GBP: true, Learning: true },
  },
  "vxlan-direct": { Backend: { ...vxlan, DirectRouting: true } },
  "vxlan-dual": { ...networks6, Backend: vxlan },
  "vxlan-ipv6": { ...networks6, EnableIPv4: false, Backend: vxlan },
  "host-gw": { Backend: { Type: "host-gw" } },
  "host-gw-dual": { ...networks6, Backend: { Type: "host-gw" } },
  alloc: { Backend: { Type: "alloc" } },
  "alloc-dual": { ...networks6, Backend: { Type: "alloc" } },
  extension: { Backend: extension },
  "extension-dual": { ...networks6, Backend: extension },
  "extension-silent": { Backend: { Type: "extension" } },
  ...(isBun ? { udp: { Backend: { Type: "udp" } }, "no-backend": {} } : {}),
  nftables: { EnableNFTables: true, Backend: vxlan },
  blackhole: { Backend: vxlan },
};

/** The Go program tells the pods an MTU that its device for IPv6 has no room for. */
function withRoom(lines: readonly string[]): string[] {
  const isIpv6 = lines.some((line) => line.includes("IPV6"));
  return lines.map((line) => (isIpv6 ? line.replace("MTU=1450", "MTU=1430") : line));
}

/** The Go program tells no IPv6 address with the backend alloc, though it has a subnet for one. */
const allocV6 = { "backend-v6-data": "null", "public-ipv6": "fd77::11" };

let kube: KubeNodes;
let etcd: EtcdNodes;
beforeAll(async () => {
  [kube, etcd] = await Promise.all([createKubeNodes(1), createEtcdNodes(1, null)]);
});
afterAll(async () => {
  await Promise.all([kube?.[Symbol.asyncDispose](), etcd?.[Symbol.asyncDispose]()]);
});

test.for(Object.keys(configs))("with the Kubernetes API: %s", async (name) => {
  const { api } = kube;
  const node = kube.node(1);
  const golden = toldByGo(name);
  await node.sandbox.writeFile("/run/net-conf.json", netConf(configs[name] ?? {}));
  const podCIDRs = ["10.244.1.0/24", "fd00:244:0:1::/64"].filter((cidr) =>
    golden.subnetEnv.join(" ").includes(cidr.includes(":") ? "IPV6" : "_SUBNET=10."),
  );
  await api.call("deleteNode", "n1");
  await api.call("setNode", "n1", { podCIDRs });
  const daemon = startOnKube(node, ...(name === "blackhole" ? ["-ip-blackhole-route"] : []));
  await whenReady(node, daemon);
  await until("the condition", async () => {
    const conditions = (await api.call("node", "n1"))?.status.conditions;
    return conditions?.[0]?.["type"] === "NetworkUnavailable";
  });
  const { metadata, status } = (await api.call("node", "n1")) ?? expect.fail();
  const annotations = Object.entries(metadata.annotations).flatMap(([key, value]) =>
    key.startsWith(prefix) ? [[key.slice(prefix.length), withoutIdentity(value)]] : [],
  );
  expect(Object.fromEntries(annotations)).toEqual({
    ...golden.annotations,
    ...(name === "alloc-dual" ? allocV6 : {}),
  });
  expect(status.conditions[0]).toMatchObject(golden.condition);
  expect(await subnetEnv(node)).toBe(`${withRoom(golden.subnetEnv).join("\n")}\n`);
  expect(await node.sandbox.mode("/run/flannel/subnet.env")).toBe(0o644);
  await daemon.end();
});

const inEtcd = Object.keys(configs).filter((name) => toldByGo(name).etcd !== undefined);

test.for(inEtcd)("with etcd: %s", async (name) => {
  const node = etcd.node(1);
  const { ctl, entries } = etcd.etcd;
  await ctl("del", "/my/prefix", "--prefix");
  await ctl("put", "/my/prefix/config", netConf(configs[name] ?? {}));
  const daemon = startOnEtcd(node, "-etcd-prefix=/my/prefix");
  await whenReady(node, daemon);
  const [entry, ...more] = await entries("/my/prefix/subnets/");
  expect(more).toEqual([]);
  expect(entry?.key).toMatch(
    name.endsWith("-dual")
      ? /^\/my\/prefix\/subnets\/10\.244\.\d+\.0-24&fd00:244:0:[\da-f]+::-64$/
      : /^\/my\/prefix\/subnets\/10\.244\.\d+\.0-24$/,
  );
  const { etcd: value = "" } = toldByGo(name);
  expect(withoutIdentity(entry?.value ?? "")).toBe(
    name === "alloc-dual" ? value.replace("null", '"fd77::11"') : value,
  );
  expect(await ctl("lease", "timetolive", entry?.lease ?? "")).toContain(
    "granted with TTL(86400s)",
  );
  await daemon.end();
});

/** What flanneld needs of a node's memory, once it has started. */
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { startEtcd, startFlanneld, startKubeApi, until } from "../../helpers/flanneld.ts";
import type { Daemon } from "../../helpers/flanneld.ts";
import { isBun, soak } from "../../helpers/form.ts";
import { createFabric } from "../../lab/fabric.ts";
import type { Fabric, FabricNode } from "../../lab/fabric.ts";

/** MiB. */
interface Memory {
  readonly anonymous: number;
  readonly rss: number;
}

const counts = soak ? [10, 5000] : [10];
const netConf = JSON.stringify({ Network: "10.128.0.0/9", Backend: { Type: "vxlan" } });

/** When what only the start has needed is given back: with many nodes the engine takes some ten seconds. */
async function memoryOf(daemon: Daemon, count: number): Promise<Memory> {
  await setTimeout(count > 1000 ? 12_000 : 3000);
  const text = readFileSync(`/proc/${daemon.pid()}/status`, "utf8");
  const read = (key: string) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(text)?.[1]) / 1024;
  const memory = { anonymous: read("RssAnon"), rss: read("VmRSS") };
  console.log(`anonymous ${memory.anonymous.toFixed(1)} MiB of ${memory.rss.toFixed(1)}`);
  return memory;
}

async function whenRouted({ sandbox }: FabricNode, count: number, daemon: Daemon): Promise<void> {
  const routes = async () => Number(await sandbox.sh("ip route show dev flannel.1 | wc -l"));
  await until("all routes", async () => (await routes()) === count, daemon);
}

async function oneNode(): Promise<{ readonly fabric: Fabric; readonly node: FabricNode }> {
  const fabric = await createFabric([{ name: "n1", number: 1 }]);
  const [node] = fabric.nodes;
  if (node === undefined) throw new Error("there is a node");
  return { fabric, node };
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

test.skipIf(!isBun).each(counts)("pain 28: by the Kubernetes API, with %i nodes", async (count) => {
  const { fabric, node } = await oneNode();
  await using _ = fabric;
  const api = await startKubeApi(fabric.router, { host: "10.77.0.1", port: 6443 });
  const f = "flannel.alpha.coreos.com/";
  await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  const annotations = {
    ...{ [`${f}kube-subnet-manager`]: "true", [`${f}backend-type`]: "vxlan" },
    ...{ [`${f}backend-data`]: '{"VNI":1,"VtepMAC":"%mac"}', [`${f}public-ip`]: "%ip" },
  };
  await api.call("setNodes", count, "p", annotations, 0);
  await node.sandbox.writeFile("/run/net-conf.json", netConf);
  const daemon = startFlanneld(
    node.sandbox,
    [
      ...["-kube-subnet-mgr", "-kube-api-url=http://10.77.0.1:6443", "-iface=eth0", "-ip-masq"],
      "-net-config-path=/run/net-conf.json",
    ],
    { NODE_NAME: "n1" },
  );
  await whenRouted(node, count, daemon);
  const { anonymous, rss } = await memoryOf(daemon, count);
  expect(anonymous).toBeLessThan(count > 1000 ? 25 : 16);
  expect(rss).toBeLessThan(count > 1000 ? 60 : 45);
  await daemon.end();
});

test.skipIf(!isBun).each(counts)("pain 46: by etcd, with %i nodes", async (count) => {
  const { fabric, node } = await oneNode();
  await using _ = fabric;
  const etcd = await startEtcd(fabric.router, { url: "http://10.77.0.1:2379" });
  await etcd.ctl("put", "/coreos.com/network/config", netConf);
  const puts = Array.from({ length: count }, (__, at) => {
    const [high, low] = [at >> 8, at & 255];
    const BackendData = { VNI: 1, VtepMAC: `02:00:00:00:${hex(high)}:${hex(low)}` };
    const value = { PublicIP: `10.99.${high}.${low}`, BackendType: "vxlan", BackendData };
    const key = `/coreos.com/network/subnets/10.${128 + high}.${low}.0-24`;
    return `put ${key} ${JSON.stringify(JSON.stringify(value))}`;
  });
  for (let at = 0; at < count; at += 100) {
    // Nothing to compare, what to do, and nothing to do otherwise.
    await etcd.transact(`\n${puts.slice(at, at + 100).join("\n")}\n\n\n`);
  }
  const args = ["-etcd-endpoints=http://10.77.0.1:2379", "-iface=eth0", "-ip-masq"];
  const daemon = startFlanneld(node.sandbox, args);
  await whenRouted(node, count, daemon);
  const { anonymous, rss } = await memoryOf(daemon, count);
  expect(anonymous).toBeLessThan(count > 1000 ? 45 : 20);
  expect(rss).toBeLessThan(count > 1000 ? 70 : 50);
  await daemon.end();
});

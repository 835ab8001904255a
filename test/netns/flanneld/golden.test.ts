/**
 * What is on a node beside what the Go flanneld 0.28 has left there with the same input, but for its
 * defects that are not ours.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createCluster, type Cluster } from "../../helpers/overlay_cluster.ts";
import {
  factCommands,
  formatFacts,
  parseFacts,
  readFacts,
  type Facts,
  type Section,
} from "../../helpers/overlay_facts.ts";

const options = { VNI: 4096, Port: 4789, MTU: 1400, GBP: true, Learning: true };
const router = [{ number: 1 }, { number: 2 }, { number: 3, network: 1 }] as const;
const vxlan = { Type: "vxlan" };

const routeOfOurs = (line: string): string =>
  line.startsWith("blackhole ")
    ? // Its own comes before the pods' and drops their packets, where it is there first.
      `${line} proto 70 metric 4294967295`
    : line.replace(/( dev \S+)/, "$1 proto 70");

/** What differs from the Go program, and has to. */
function withoutDefects(golden: Facts): Facts {
  const text = golden.nft
    .join("\n")
    // The mark is one bit among others.
    .replaceAll("meta mark 0x00004000 return", "meta mark & 0x00004000 == 0x00004000 return")
    // Subnet and network the wrong way round, so that the last rule never applies.
    .replaceAll(/(ip6?) saddr != (\S+) \1 daddr (\S+) return/g, "$1 saddr != $3 $1 daddr $2 return")
    // A table for a family that the network does not have.
    .replace('\ntable ip6 flannel-ipv6 {\n\tcomment "rules for flannel-ipv6"\n}', "");
  return {
    ...golden,
    routes: golden.routes.map(routeOfOurs),
    routes6: golden.routes6.map(routeOfOurs),
    nft: text === "" ? [] : text.split("\n"),
  };
}

async function factsOf(cluster: Cluster): Promise<Facts> {
  const outputs: [string, string][] = [];
  const { sandbox } = cluster.node(1);
  for (const [section, command] of Object.entries(factCommands)) {
    outputs.push([section, await sandbox.sh(command)]);
  }
  const names = new Map<string, string>();
  for (const { number, daemon } of cluster.nodes) {
    const { macs } = await daemon.ask();
    names.set(macs.ipv4, `MAC-n${number}`).set(macs.ipv6, `MAC-v6-n${number}`);
  }
  return readFacts(Object.fromEntries(outputs) as Record<Section, string>, names);
}

test.concurrent.for([
  { golden: "vxlan", backend: vxlan, families: [4] },
  { golden: "vxlan-dual", backend: vxlan, families: [4, 6] },
  { golden: "vxlan-ipv6", backend: vxlan, families: [6] },
  { golden: "vxlan-options", backend: { ...vxlan, ...options }, families: [4] },
  { golden: "vxlan-direct", backend: { ...vxlan, DirectRouting: true }, families: [4] },
  {
    golden: "vxlan-direct-router",
    backend: { ...vxlan, DirectRouting: true },
    families: [4],
    nodes: router,
  },
  { golden: "host-gw", backend: { Type: "host-gw" }, families: [4] },
  { golden: "host-gw-dual", backend: { Type: "host-gw" }, families: [4, 6] },
  { golden: "alloc", backend: { Type: "alloc" }, families: [4] },
  { golden: "blackhole", backend: vxlan, families: [4], blackholes: true },
  { golden: "nftables", backend: vxlan, families: [4], nftables: true },
  { golden: "nftables-dual", backend: vxlan, families: [4, 6], nftables: true },
] as const)("$golden", async ({ golden, backend, families, ...rest }) => {
  const { nodes, blackholes = false, nftables = false } = { nodes: undefined, ...rest };
  await using cluster = await createCluster({
    ...{ backend, families, nftables },
    ...(nodes === undefined ? {} : { nodes }),
    config: { blackholes, traffic: { masquerade: true, forward: true } },
  });
  await cluster.node(1).daemon.until(({ traffic }) => traffic.inPlace);
  const wanted = parseFacts(readFileSync(`test/golden/flanneld/${golden}.txt`, "utf8"));
  expect(formatFacts(await factsOf(cluster))).toBe(formatFacts(withoutDefects(wanted)));
});

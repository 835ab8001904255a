/** Each thing that has hurt flannel's users, or that its Go program was seen to do, has a scenario. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

/** What hurts users of flannel, as far as namespaces, an API server or an etcd can show it. */
const pains: Readonly<Record<number, string>> = {
  1: "pods fail because subnet.env is missing",
  2: "crash loop because no podCIDR is assigned",
  3: "flannel.1 is gone after a network restart",
  4: "routes are gone after a link went down and up",
  5: "stale routes after downtime or with a new network",
  6: "some peers' routes are missing",
  7: "the VTEP has another MAC after a boot",
  8: "a peer cannot be reached after its reboot",
  9: "egress is cut while flanneld restarts",
  10: "pods' source addresses are masqueraded",
  11: "rules are made again for ever",
  12: "kube-proxy starves on xtables.lock",
  13: "exit because the API cannot be reached",
  14: "stalls or no traffic over vxlan: wrong checksums",
  15: "wrong interface",
  16: "the node's address changes, and peers lose it",
  17: "public-ip is overwritten",
  18: "wrong MTU",
  19: "exit because br_netfilter is missing",
  20: "nothing cleans up",
  21: "cni0 keeps an old subnet's address",
  22: "a change of the backend breaks the cluster",
  23: "the network is not the cluster's CIDR",
  24: "names are slow, and rules are lost beside kube-proxy",
  25: "pods are masqueraded towards nodes",
  26: "packets to a dead pod go to the gateway",
  27: "services fail after a reboot",
  28: "killed for its memory",
  29: "does not start with many nodes",
  30: "a watch loops after a compaction",
  31: "stops because its lease was revoked",
  32: "two nodes have one subnet",
  33: "a node is missed that was added meanwhile",
  34: "no network after an outage until pods are deleted",
  35: "the node is not ready, and flanneld runs",
  38: "IPv6 routes are missing in dual stack",
  39: "another program reconfigures flannel.1",
  40: "the vxlan port is blocked",
  41: "Docker's options differ from subnet.env",
  42: "a node is behind NAT",
  44: "invalid argument for a SubnetMin off its boundary",
  45: "packets are dropped, and nothing counts them",
  46: "memory grows without end",
};

/** What the Go program was seen to do; ours does right where it does not. */
const seen: Readonly<Record<number, string>> = {
  1: "SIGTERM",
  2: "SIGKILL, and another start",
  3: "restart with the Kubernetes API after flannel.1 was deleted",
  4: "restart with a new MAC",
  5: "a peer is deleted while flanneld is down",
  6: "flannel.1 is deleted",
  7: "flannel.1 is set down",
  8: "a route, an FDB entry or a neighbour is deleted",
  9: "a route of host-gw is deleted",
  10: "a rule, a jump or a chain of iptables is deleted",
  11: "the table of nftables is deleted",
  12: "from iptables to nftables by a restart",
  13: "flannel.1's address is flushed",
  14: "eth0's address changes",
  15: "a peer's Node is deleted",
  16: "a Node is made again while its flanneld runs",
  17: "the API server is gone",
  18: "started while the API server is down",
  19: "the API server is back, and refuses at first",
  20: "etcd is down at the start",
  21: "etcd has no config",
  22: "the lease in etcd is revoked",
  23: "the Node has no podCIDR",
  24: "there is no Node",
  25: "the Node has no annotation",
  26: "a podCIDR outside of the network",
  27: "two Nodes with one podCIDR",
  28: "a peer with a broken annotation or another VNI",
  29: "a wrong token",
  30: "a bad config or interface",
  31: "a peer of host-gw behind a router",
  32: "public-ip-overwrite and the prefix of annotations",
};

const folder = "test/netns/flanneld";
const texts = readdirSync(folder)
  .filter((file) => file.endsWith(".test.ts"))
  .map((file) => readFileSync(join(folder, file), "utf8"));
/** The titles of tests, and names of rows of their tables. */
const titles = texts.flatMap((text) =>
  [...text.matchAll(/["`]((?:(?:pain|seen) \d+(?:, |: ))+)/g)].map(([, title]) => title ?? ""),
);

describe.each([
  ["pain", pains],
  ["seen", seen],
])("%s", (word, list) => {
  const numbers = new Set(
    titles.flatMap((title) =>
      [...title.matchAll(new RegExp(`${word} (\\d+)`, "g"))].map(([, number]) => Number(number)),
    ),
  );

  test.each(Object.entries(list))("%s, %s, has a scenario", (number) => {
    expect(numbers).toContain(Number(number));
  });

  test("is the word for nothing else", () => {
    expect([...numbers].filter((number) => !(number in list))).toEqual([]);
  });
});

/** A node whose address the other nodes cannot reach. */
import { expect, test } from "vitest";
import { startKubeApi, until } from "../../helpers/flanneld.ts";
import { netConf, prefix, startOnKube, vxlan, whenReady } from "../../helpers/flanneld_nodes.ts";
import { addFabricPod, createFabric } from "../../lab/fabric.ts";
import type { Namespace } from "../../lab/namespace.ts";

async function pings(pod: Pick<Namespace, "exec">, address: string): Promise<boolean> {
  return (await pod.exec("ping", ["-n", "-c", "1", "-W", "1", address])).exitCode === 0;
}

test("pain 42: a node behind NAT is reached at its public-ip-overwrite", async () => {
  await using fabric = await createFabric([
    { name: "n1", number: 1 },
    { name: "n2", number: 2, network: 1 },
  ]);
  const { router, nodes } = fabric;
  const api = await startKubeApi(router, { host: "10.77.0.1", port: 6443 });
  // The router is the second node's way out, and its only address for others.
  await router.sh(`
    iptables -t nat -A PREROUTING -d 10.77.0.1 -p udp --dport 8472 -j DNAT --to-destination 10.78.0.12
    iptables -t nat -A POSTROUTING -s 10.78.0.0/24 -d 10.77.0.0/24 -j MASQUERADE
    iptables -A FORWARD -d 10.78.0.0/24 -m conntrack --ctstate NEW ! --ctorigdst 10.77.0.1 -j DROP
  `);
  const annotations = { [`${prefix}public-ip-overwrite`]: "10.77.0.1" };
  await api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  await api.call("setNode", "n2", { podCIDRs: ["10.244.2.0/24"], annotations });
  const all = await Promise.all(
    nodes.map(async (node, at) => {
      await node.sandbox.writeFile("/run/net-conf.json", netConf(vxlan));
      const [subnet, daemon] = [`10.244.${at + 1}`, startOnKube(node)];
      const addresses = [{ address: `${subnet}.2`, gateway: `${subnet}.1`, prefix: 24 }];
      const pod = await addFabricPod(node, { name: "pod", mtu: 1430, addresses });
      await whenReady(node, daemon);
      return { node, daemon, pod };
    }),
  );
  const [first, second] = all;
  if (first === undefined || second === undefined) throw new Error("there are two nodes");
  const told = (await api.call("node", "n2"))?.metadata.annotations[`${prefix}public-ip`];
  expect(told).toBe("10.77.0.1");
  // The network of one may be up before the other has a lease.
  await until("an answer", async () => pings(first.pod, "10.244.2.2"), first.daemon, second.daemon);
  expect(await first.node.sandbox.sh("bridge fdb show dev flannel.1")).toContain("dst 10.77.0.1 ");
  expect(await pings(second.pod, "10.244.1.2")).toBe(true);
  for (const { daemon } of all) expect(await daemon.end()).toBe(0);
});

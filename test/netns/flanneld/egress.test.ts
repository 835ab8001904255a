/** What pods send to hosts outside of their network, and to other pods: whose address it has. */
import { describe, expect, test } from "vitest";
import { createCluster, type ClusterNode } from "../../helpers/overlay_cluster.ts";
import { ask, serve } from "../../lab/traffic.ts";

const vxlan = { Type: "vxlan" };
const router = "10.77.0.1";

/** Pings a host, each time as a new connection, while something happens. */
async function pingsDuring(
  { pod, sandbox }: ClusterNode,
  address: string,
  happens: () => Promise<void>,
): Promise<readonly string[]> {
  const pinging = pod.sh(`
    until [ -e /run/enough ]; do
      ping -n -c 1 -W 1 ${address} > /dev/null && echo answered || echo lost
      sleep 0.01
    done
  `);
  await happens();
  await sandbox.sh("touch /run/enough");
  return (await pinging).trim().split("\n");
}

describe.concurrent.each([
  { name: "iptables", nftables: false },
  { name: "nftables", nftables: true },
])("with $name", ({ nftables }) => {
  test("pain 9, pain 10, pain 25: pods reach hosts by the node's address, and others by their own", async () => {
    await using cluster = await createCluster({
      backend: vxlan,
      nftables,
      families: [4],
      nodes: [{ number: 1 }, { number: 2 }],
      config: {
        traffic: { masquerade: true, forward: true, unmasqueraded: ["10.77.0.12/32"] },
      },
    });
    const [node, peer] = [cluster.node(1), cluster.node(2)];
    await node.daemon.until(({ traffic }) => traffic.inPlace);
    await serve(peer.pod, "pod");
    await serve(peer.sandbox, "node");
    const clientOf = async (address: string) => (await ask(node.pod, "tcp", address, 80))?.client;
    expect(await clientOf(peer.pod4)).toBe(node.pod4);
    // The router knows no way to pods.
    const pings = await pingsDuring(node, router, async () => {
      for (let time = 0; time < 3; time++) {
        await node.daemon.kill();
        await cluster.restart(node);
        await node.daemon.until(({ traffic }) => traffic.inPlace);
      }
    });
    expect(pings.length).toBeGreaterThan(10);
    expect(pings).not.toContain("lost");

    expect(await clientOf(peer.address4)).toBe(node.pod4);
    expect(await ask(node.pod, "tcp", router, 80, 1)).toBeUndefined();
  });
});

/** cnitool doctor sees what is wrong with the ways to other nodes. */
import { expect, test } from "vitest";
import { binDir } from "../../helpers/cni.ts";
import { createCluster, type ClusterNode } from "../../helpers/overlay_cluster.ts";

interface Finding {
  readonly id: string;
  readonly what: string;
}

/** What it finds of the overlay: there are no pods here, and no config for any. */
async function findings({ sandbox }: ClusterNode): Promise<readonly Finding[]> {
  const { stdout } = await sandbox.exec(`${binDir()}/cnitool`, ["doctor", "--json"]);
  const all = JSON.parse(stdout) as readonly Finding[];
  return all.filter(({ id }) => id.startsWith("overlay-") || id.startsWith("peer-"));
}

test("peers without route or entry, a blocked port, an MTU without room", async () => {
  await using cluster = await createCluster({ backend: { Type: "vxlan" }, families: [4] });
  const [node, peer] = [cluster.node(1), cluster.node(2)];
  expect(await findings(node)).toEqual([]);
  const found = async (breaks: string, mends: string, where = node.sandbox) => {
    await where.sh(breaks);
    const all = await findings(node);
    await where.sh(mends);
    return all;
  };
  const rule = "INPUT -p udp --dport 8472 -j DROP";
  const blocked = await found(`iptables -A ${rule}`, `iptables -D ${rule}`, peer.sandbox);
  expect(blocked.map(({ id }) => id)).toEqual(["overlay-blocked"]);
  expect(blocked[0]?.what).toContain("10.77.0.12 (10.244.2.0/24) answers at the address");

  // From here on nobody puts anything back.
  await node.daemon.kill();
  const fdb = await node.sandbox.sh("bridge fdb show dev flannel.1 | grep 10.77.0.12");
  const [mac = ""] = fdb.split(" ");
  const lacking = await found(
    `bridge fdb delete ${mac} dev flannel.1`,
    `bridge fdb append ${mac} dev flannel.1 dst 10.77.0.12 self permanent`,
  );
  expect(lacking.map(({ id }) => id)).toEqual(["overlay-entry-missing"]);
  expect(lacking[0]?.what).toContain("10.244.2.0/24");

  await node.sandbox.sh("ip link set eth0 mtu 1400; ip route delete 10.244.3.0/24");
  const overlayFindings = await findings(node);
  expect(overlayFindings.map(({ id }) => id).toSorted()).toEqual([
    "overlay-mtu",
    "overlay-route-missing",
  ]);
});

/**
 * What has hurt users of flannel, as far as the ways between nodes are concerned. The numbers of
 * "pain" and "seen" are those of test/unit/test/netns/flanneld.test.ts.
 */
import { describe, expect, test } from "vitest";
import {
  createCluster,
  lostDuring,
  overlayOf,
  expectOverlay,
  type ClusterNode,
} from "../../helpers/overlay_cluster.ts";
import { monitorRoutes } from "../../lab/route_monitor.ts";
import { startStatic } from "../../static_flanneld/start.ts";
import type { WireLease } from "../../static_flanneld/daemon.ts";

const vxlan = { Type: "vxlan" };

describe.concurrent("issues of flannel's", () => {
  test("pain 34, seen 2: no packet is lost when flanneld is killed and started again", async () => {
    await using cluster = await createCluster({
      backend: vxlan,
      config: { traffic: { masquerade: true, forward: true } },
    });
    const node = cluster.node(1);
    const before = await overlayOf(node);
    for (const address of [cluster.node(2).pod4, cluster.node(2).pod6]) {
      const lost = await lostDuring(node, address, async () => {
        for (let time = 0; time < 2; time++) {
          await node.daemon.kill();
          await cluster.restart(node);
        }
      });
      expect(lost).toBe(0);
    }
    expect(await overlayOf(node)).toBe(before);
  });

  test("pain 5, seen 5: what is left of nodes that have gone meanwhile goes, and only when all are known", async () => {
    await using cluster = await createCluster({ backend: vxlan });
    const node = cluster.node(1);
    await node.daemon.kill();
    // A route of the Go program's, for a peer that is gone, and a user's own.
    await node.sandbox.sh(`
      ip route add 10.244.9.0/24 via 10.244.9.0 dev flannel.1 onlink
      ip route add 192.0.2.0/24 via 10.77.0.12
    `);
    node.daemon = await startStatic(node.sandbox, node.config);
    const { n3: _, ...left } = leasesOf(cluster.nodes, node);
    await node.daemon.ask({ peers: {}, complete: false });
    await node.daemon.ask({ peers: left, complete: false });
    await node.daemon.until(({ programmed }) => programmed === 2);
    expect(
      await node.sandbox.sh("ip route show 10.244.3.0/24; ip route show 10.244.9.0/24"),
    ).toMatch(/10\.244\.3\.0.*\n.*10\.244\.9\.0/);
    await node.daemon.tell({ peers: left, complete: true });
    const routes = await node.sandbox.sh("ip route; bridge fdb show dev flannel.1");
    expect(routes).not.toMatch(/10\.244\.[39]\.0|10\.77\.0\.13/);
    expect(routes).toContain("10.244.2.0/24 via 10.244.2.0 dev flannel.1 proto 70 onlink");
    expect(routes).toContain("192.0.2.0/24 via 10.77.0.12 dev eth0");
  });

  test("pain 6, seen 9, seen 31: a peer that cannot be reached delays none, and is tried again", async () => {
    await using cluster = await createCluster({ backend: { Type: "host-gw" }, families: [4] });
    const node = cluster.node(1);
    const far: WireLease = { subnet: "10.244.9.0/24", publicIp: "192.0.2.9", type: "host-gw" };
    await node.daemon.ask({
      peers: { far, ...leasesOf(cluster.nodes, node) },
      complete: true,
    });
    const status = await node.daemon.until(
      ({ programmed, failed }) => programmed === 2 && failed.length === 1,
    );
    expect(status.failed[0]).toMatchObject({ id: "far", subnet: "10.244.9.0/24" });
    expect(status.failed[0]?.problem).toContain("unreachable");
    // It comes up.
    await node.sandbox.sh("ip address add 192.0.2.1/24 dev eth0");
    await node.daemon.until(
      ({ programmed, output }) => programmed === 3 && output.includes("far can be reached again."),
    );
    expect(node.daemon.log().match(/Cannot reach far/g)).toHaveLength(1);
    const before = await overlayOf(node);
    await node.sandbox.sh("ip route delete 10.244.2.0/24");
    await expectOverlay(node, before);
  });

  test("pain 7: the device has the MAC that peers know, whatever systemd has given it", async () => {
    await using cluster = await createCluster({ backend: vxlan, families: [4] });
    const node = cluster.node(1);
    const before = await overlayOf(node);
    await node.daemon.kill();
    await node.sandbox.sh("ip link set flannel.1 address 02:aa:aa:aa:aa:aa");
    await cluster.restart(node);
    await expectOverlay(node, before);
  });

  test("pain 8, seen 4: a peer with another MAC is reached by it, and the old entry goes", async () => {
    await using cluster = await createCluster({ backend: vxlan, families: [4] });
    const [node, peer] = [cluster.node(1), cluster.node(2)];
    const lost = peer.lease.data as { VtepMAC: string };
    await peer.daemon.kill();
    await peer.sandbox.sh("ip link delete flannel.1");
    peer.daemon = await startStatic(peer.sandbox, peer.config);
    const { macs } = await peer.daemon.ask();
    expect(macs.ipv4).not.toBe(lost.VtepMAC);
    peer.lease = { ...peer.lease, data: { VNI: 1, VtepMAC: macs.ipv4 } };
    await cluster.tell(peer);
    await cluster.tell(node);
    expect(await node.pod.ping(peer.pod4)).toBe(true);
    expect(await overlayOf(node)).not.toContain(lost.VtepMAC);
  });

  test("pain 38: of a peer with both families, one can change alone", async () => {
    await using cluster = await createCluster({ backend: vxlan });
    const [node, peer] = [cluster.node(1), cluster.node(2)];
    const newMac = "02:bb:bb:bb:bb:bb";
    await cluster.tell(node, (peers) => {
      peers["n2"] = { ...peer.lease, dataV6: { VNI: 1, VtepMAC: newMac } };
    });
    const overlay = await overlayOf(node);
    expect(overlay).toContain(`fd00:244:0:2:: lladdr ${newMac}`);
    expect(overlay).toContain(`${newMac} dst ${peer.address6}`);
    expect(overlay).toContain(
      `10.244.2.0 lladdr ${(peer.lease.data as { VtepMAC: string }).VtepMAC}`,
    );
  });

  test("pain 16, pain 18, seen 14: the interface's address and MTU are followed, and no route goes meanwhile", async () => {
    await using cluster = await createCluster({ backend: vxlan, families: [4] });
    const [node, peer] = [cluster.node(1), cluster.node(2)];
    const before = await overlayOf(node);
    await node.sandbox.sh("ip link set eth0 mtu 1400");
    await expectOverlay(node, before.replace("mtu 1450", "mtu 1350"));
    await node.sandbox.sh(`
      ip address add 10.77.0.99/24 dev eth0
      ip address delete 10.77.0.11/24 dev eth0
      ip address show dev eth0 | grep -q 10.77.0.99 || ip address add 10.77.0.99/24 dev eth0
      ip route replace default via 10.77.0.1
    `);
    const moved = before
      .replace("mtu 1450", "mtu 1350")
      .replace("local 10.77.0.11", "local 10.77.0.99");
    await expectOverlay(node, moved);
    node.lease = { ...node.lease, publicIp: "10.77.0.99" };
    await peer.sandbox.sh(
      "ip neighbour replace 10.77.0.99 lladdr 02:77:00:00:01:01 dev eth0 nud permanent",
    );
    await cluster.tell(peer);
    expect(await node.pod.ping(peer.pod4)).toBe(true);
  });

  test("pain 22: nodes of one link reach each other while the backend is changed one by one", async () => {
    await using cluster = await createCluster({ backend: vxlan, families: [4] });
    const [first, second] = [cluster.node(1), cluster.node(2)];
    const hostGw = {
      ...first.config,
      netConf: { ...first.config.netConf, Backend: { Type: "host-gw" } },
    };
    await first.daemon.stop();
    first.daemon = await startStatic(first.sandbox, hostGw);
    first.lease = { ...first.lease, type: "host-gw", data: null };
    await cluster.tell(first);
    await cluster.tell(second);
    expect(await first.pod.ping(second.pod4)).toBe(true);
    expect(await second.pod.ping(first.pod4)).toBe(true);
    // The device stays as long as a node uses it.
    expect(await first.sandbox.sh("ip link show flannel.1")).toContain("flannel.1");
    for (const number of [2, 3]) {
      const node = cluster.node(number);
      await node.daemon.stop();
      node.daemon = await startStatic(node.sandbox, { ...hostGw, own: node.config.own });
      node.lease = { ...node.lease, type: "host-gw", data: null };
    }
    for (const node of cluster.nodes) await cluster.tell(node);
    expect(await second.pod.ping(cluster.node(3).pod4)).toBe(true);
    await first.daemon.stop();
    first.daemon = await startStatic(first.sandbox, hostGw);
    await cluster.tell(first);
    await first.daemon.until(({ lastSync }) => lastSync !== undefined);
    expect((await first.sandbox.exec("ip", ["link", "show", "flannel.1"])).exitCode).toBe(1);
    expect(await first.pod.ping(second.pod4)).toBe(true);
  });

  test("pain 26: packets to an address without a pod are dropped, and pods are reached", async () => {
    await using cluster = await createCluster({
      backend: vxlan,
      families: [4],
      config: { blackholes: true },
    });
    const [node, peer] = [cluster.node(1), cluster.node(2)];
    expect(await peer.pod.ping(node.pod4)).toBe(true);
    await node.sandbox.sh("ip link delete cni0");
    const answer = await node.sandbox.exec("ip", ["route", "get", "10.244.1.77"]);
    expect(answer.exitCode).not.toBe(0);
  });
});

const mac = (last: number) => ({ VNI: 1, VtepMAC: `02:cc:cc:cc:cc:0${last}` });

describe.concurrent("hostile peers", () => {
  test("seen 28: take over nothing that the node has", async () => {
    await using cluster = await createCluster({ backend: vxlan, families: [4] });
    const node = cluster.node(1);
    const before = await overlayOf(node);
    const routes = await node.sandbox.sh("ip route");
    const { macs } = await node.daemon.ask();
    const { n2 } = leasesOf(cluster.nodes, node);
    const hostile: Record<string, WireLease> = {
      // Another peer's MAC, this node's, everybody's, and none.
      "mac of n2": { subnet: "10.244.20.0/24", publicIp: "10.77.0.66", data: n2?.data ?? null },
      "own mac": { subnet: "10.244.21.0/24", publicIp: "10.77.0.66", data: { VtepMAC: macs.ipv4 } },
      broadcast: {
        subnet: "10.244.22.0/24",
        publicIp: "10.77.0.66",
        data: { VtepMAC: "ff:ff:ff:ff:ff:ff" },
      },
      zero: {
        subnet: "10.244.23.0/24",
        publicIp: "10.77.0.66",
        data: { VtepMAC: "00:00:00:00:00:00" },
      },
      "another VNI": {
        subnet: "10.244.24.0/24",
        publicIp: "10.77.0.66",
        data: { ...mac(4), VNI: 7 },
      },
      "the pods' bridge": { subnet: "10.244.1.0/24", publicIp: "10.77.0.66", data: mac(5) },
      "subnet of n2": { subnet: "10.244.2.0/24", publicIp: "10.77.0.66", data: mac(6) },
      broken: { subnet: "10.244.25.0/24", publicIp: "10.77.0.66", data: "{" },
      foreign: { subnet: "10.244.26.0/24", publicIp: "10.77.0.66", type: "ipsec", data: {} },
    };
    const monitor = await monitorRoutes(node.sandbox);
    await cluster.tell(node, (peers) => {
      Object.assign(peers, hostile);
    });
    await expectOverlay(node, before);
    expect(await node.sandbox.sh("ip route")).toBe(routes);
    // Not for a moment.
    expect((await monitor.stop()).join("\n")).not.toMatch(/10\.244\.(?:1|2\d)\.0\/24/);
    const { refused, ignored } = await node.daemon.ask();
    expect(refused.map(({ id }) => id).toSorted()).toEqual(
      Object.keys(hostile)
        .filter((id) => id !== "foreign")
        .toSorted(),
    );
    expect(ignored).toBe(1);
    // When n2 goes, the one that has waited for what it had gets it.
    await node.daemon.tell({ peers: { "mac of n2": hostile["mac of n2"] ?? {} }, complete: true });
    expect((await node.daemon.ask()).refused).toEqual([]);
  });

  test("and another program's route are not overcome by force", async () => {
    await using cluster = await createCluster({ backend: vxlan, families: [4] });
    const node = cluster.node(1);
    await node.daemon.kill();
    await node.sandbox.sh("ip route replace 10.244.2.0/24 via 10.77.0.13 proto bird");
    node.daemon = await startStatic(node.sandbox, node.config);
    await node.daemon.ask({ peers: leasesOf(cluster.nodes, node), complete: true });
    const { failed } = await node.daemon.until(
      (status) => status.failed.length === 1 && status.programmed === 1,
    );
    expect(failed[0]?.problem).toContain(
      "another program has a route to 10.244.2.0/24 by 10.77.0.13",
    );
    await node.sandbox.sh("ip route delete 10.244.2.0/24");
    await node.daemon.until(({ programmed }) => programmed === 2);
  });
});

function leasesOf(nodes: readonly ClusterNode[], self: ClusterNode): Record<string, WireLease> {
  const peers = nodes.filter((node) => node !== self);
  return Object.fromEntries(peers.map(({ name, lease }) => [name, lease]));
}

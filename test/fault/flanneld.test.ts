/**
 * flanneld is killed at any moment, and the kernel refuses it any request: after the next start, or by
 * the next attempt, all is as the leases want it, and pods that reached each other have not noticed.
 */
import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { soak, stepOf } from "../helpers/form.ts";
import {
  createCluster,
  lostDuring,
  overlayOf,
  expectOverlay,
  type ClusterNode,
} from "../helpers/overlay_cluster.ts";
import { startStatic } from "../static_flanneld/start.ts";
import type { WireLease } from "../static_flanneld/daemon.ts";

const vxlan = { Type: "vxlan" };
const kills = soak ? 500 : 12;
const ERRNOS = [1, 12, 16, 17, 19];
/** The first requests of a start on a node without anything: looks, devices, a peer. */
const requests = 40;

function earlierOf({ lease }: ClusterNode) {
  return { data: lease.data ?? null, dataV6: lease.dataV6 ?? null };
}

/** A peer that comes, goes and changes. */
function fickle(time: number): Record<string, WireLease> {
  if (time % 3 === 0) return {};
  const [last, mac] = [time % 5, `02:dd:dd:dd:dd:0${time % 7}`];
  return {
    fickle: {
      ...{ subnet: `10.244.5${last}.0/24`, subnetV6: `fd00:244:0:5${last}::/64` },
      ...{ publicIp: "10.77.0.55", publicIpv6: "fd77::55" },
      ...{ data: { VNI: 1, VtepMAC: mac }, dataV6: { VNI: 1, VtepMAC: mac } },
    },
  };
}

test(`${kills} kills at any moment lose no packet and leave nothing`, async () => {
  await using cluster = await createCluster({
    backend: vxlan,
    nodes: [{ number: 1 }, { number: 2 }],
  });
  const [node, peer] = [cluster.node(1), cluster.node(2)];
  const before = await overlayOf(node);
  const config = { ...node.config, earlier: earlierOf(node) };
  const peers = { n2: peer.lease };
  const lost = await lostDuring(node, peer.pod4, async () => {
    for (let time = 0; time < kills; time++) {
      await node.daemon.kill();
      node.daemon = await startStatic(node.sandbox, config);
      const told = node.daemon.ask({ peers: { ...peers, ...fickle(time) }, complete: true });
      await Promise.all([told, setTimeout((time * 37) % 90)]);
    }
  });
  expect(lost).toBe(0);
  await node.daemon.kill();
  node.daemon = await startStatic(node.sandbox, config);
  await node.daemon.tell({ peers, complete: true });
  expect(await overlayOf(node)).toBe(before);
}, 3_600_000);

test("any refused request is made up for", async () => {
  await using cluster = await createCluster({
    backend: vxlan,
    nodes: [{ number: 1 }, { number: 2 }],
  });
  const [node, peer] = [cluster.node(1), cluster.node(2)];
  const before = await overlayOf(node);
  await node.daemon.stop();
  const start = async (fault: string) => {
    await node.sandbox.sh("ip link delete flannel.1; ip link delete flannel-v6.1");
    const config = { ...node.config, earlier: earlierOf(node) };
    const daemon = await startStatic(node.sandbox, config, { fault });
    await daemon.ask({ peers: { n2: peer.lease }, complete: true });
    return daemon;
  };
  const counting = await start("count");
  await expectOverlay(node, before);
  await counting.stop();
  expect(Number(/requests: (\d+)/.exec(counting.log())?.[1])).toBeGreaterThanOrEqual(requests);
  const faults = Array.from({ length: requests }, (_, at) =>
    ERRNOS.map((errno) => `${at + 1}:${errno}`),
  ).flat();
  const step = stepOf(14, 40);
  for (let at = 3; at < faults.length; at += step) {
    const fault = faults[at] ?? "";
    const daemon = await start(fault);
    await expectOverlay(node, before).catch((error: unknown) => {
      throw new Error(`${fault}: ${daemon.log()}`, { cause: error });
    });
    await daemon.stop();
  }
}, 3_600_000);

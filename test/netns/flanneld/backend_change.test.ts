/** Pods reach each other all the time while a cluster changes its backend node by node. */
import { expect, test } from "vitest";
import { lostByChange } from "../../helpers/backends/change.ts";
import { createNetnsLab } from "../../helpers/backends/netns_lab.ts";
import type { BackendRow } from "../../helpers/backends/rows.ts";
import { isBun } from "../../helpers/form.ts";

const vxlan = { Type: "vxlan" };
const row: BackendRow = {
  ...{ name: "vxlan", backend: vxlan, families: [4], told: { type: "vxlan" } },
  ...{ mtu: { pods: 1450 }, routes: [], drifts: [] },
};
test.concurrent("vxlan to host-gw to vxlan", async () => {
  await using lab = await createNetnsLab({ ...row, nodes: [0, 0, 0] });
  expect((await lostByChange(lab, { Type: "host-gw" }, "")).lost).toBe(0);
  expect((await lostByChange(lab, vxlan, "flannel.1")).lost).toBe(0);
});

test.concurrent("vxlan to extension to vxlan", async () => {
  await using lab = await createNetnsLab({ ...row, nodes: [0, 0, 0] });
  const extension = {
    ...{ Type: "extension", SubnetAddCommand: "ip route replace $SUBNET via $PUBLIC_IP" },
    SubnetRemoveCommand: "ip route delete $SUBNET via $PUBLIC_IP",
  };
  expect((await lostByChange(lab, extension, "")).lost).toBe(0);
  expect((await lostByChange(lab, vxlan, "flannel.1")).lost).toBe(0);
});

// udp loses what comes while no flanneld runs, as at each restart.
test.concurrent("vxlan to udp to vxlan, over a router", async ({ skip }) => {
  if (!isBun) return skip("the Node build has no udp");
  await using lab = await createNetnsLab({ ...row, nodes: [0, 0, 1] });
  const changes = [
    await lostByChange(lab, { Type: "udp" }, "flannel0"),
    await lostByChange(lab, vxlan, "flannel.1"),
  ];
  for (const { lost, missed } of changes) expect(lost).toBeLessThan(missed);
});

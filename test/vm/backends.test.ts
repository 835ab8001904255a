/** The backends that this machine's kernel may lack pass the same suite, in a virtual machine. */
import { expect, test } from "vitest";
import { lostByChange } from "../helpers/backends/change.ts";
import { vmBackendRows, type BackendRow } from "../helpers/backends/rows.ts";
import { createVmLab } from "../helpers/backends/vm_lab.ts";
import { stepLimit, testBackends, useBackendVm } from "../helpers/backends/vm_suite.ts";

const booted = useBackendVm();
testBackends(vmBackendRows, booted);

test("ipip to wireguard to vxlan to ipip, over a router", { timeout: 2 * stepLimit }, async ({
  skip,
}) => {
  const { vm, problem } = booted();
  if (vm === undefined) return skip(problem);
  const row: BackendRow = {
    ...{ name: "ipip", backend: { Type: "ipip" }, families: [4], told: { type: "ipip" } },
    ...{ mtu: { pods: 1480 }, routes: [], drifts: [], nodes: [0, 0, 1] },
  };
  await using lab = await createVmLab(vm, row);
  for (const [backend, device] of [
    [{ Type: "wireguard" }, "flannel-wg"],
    [{ Type: "vxlan" }, "flannel.1"],
    [row.backend, "flannel.ipip"],
  ] as const) {
    expect((await lostByChange(lab, backend, device)).lost, `to ${backend.Type}`).toBe(0);
  }
});

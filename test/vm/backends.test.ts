/** The backends that this machine's kernel may lack pass the same suite, in a virtual machine. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BackendLab } from "../helpers/backends/lab.ts";
import { lostByChange } from "../helpers/backends/change.ts";
import { vmBackendRows, type BackendRow } from "../helpers/backends/rows.ts";
import { scenarios } from "../helpers/backends/scenarios.ts";
import { createVmLab, startBackendVm } from "../helpers/backends/vm_lab.ts";
import { vmProblem, type Vm } from "../lab/vm.ts";

const limit = 300_000;
let vm: Vm | undefined;
let problem: string | undefined;
beforeAll(async () => {
  problem = await vmProblem();
  if (problem !== undefined) console.warn(`Backends are not tested: ${problem}`);
  else vm = await startBackendVm();
}, limit);
afterAll(async () => vm?.[Symbol.asyncDispose]());

describe.for(vmBackendRows)("$name", (row) => {
  let lab: BackendLab | undefined;
  beforeAll(async () => {
    if (vm !== undefined) lab = await createVmLab(vm, row);
  }, limit);
  afterAll(async () => lab?.[Symbol.asyncDispose](), limit);

  test.for(Object.entries(scenarios))("%s", { timeout: limit }, async ([, scenario], { skip }) => {
    if (problem !== undefined) return skip(problem);
    await scenario(lab ?? expect.fail(), row);
  });
});

test("ipip to wireguard to vxlan to ipip, over a router", { timeout: 2 * limit }, async ({
  skip,
}) => {
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

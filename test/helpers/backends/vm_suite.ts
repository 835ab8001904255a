/** The suite of all backends in a virtual machine. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { vmProblem, type Vm } from "../../lab/vm.ts";
import type { BackendLab } from "./lab.ts";
import type { BackendRow } from "./rows.ts";
import { scenarios } from "./scenarios.ts";
import { createVmLab, startBackendVm } from "./vm_lab.ts";

/** Milliseconds that a step may take: in an emulated machine everything takes its time. */
export const stepLimit = 300_000;

/** The virtual machine of a file's tests, or why there is none. */
export interface BackendVm {
  readonly vm?: Vm;
  readonly problem?: string;
}

/** Boots a virtual machine before a file's tests. @returns it, once they run. */
export function useBackendVm(): () => BackendVm {
  let booted: BackendVm = {};
  beforeAll(async () => {
    const problem = await vmProblem();
    if (problem === undefined) booted = { vm: await startBackendVm() };
    else {
      console.warn(`Backends are not tested: ${problem}`);
      booted = { problem };
    }
  }, stepLimit);
  afterAll(async () => booted.vm?.[Symbol.asyncDispose]());
  return () => booted;
}

/** Backends pass the suite, one after another. */
export function testBackends(rows: readonly BackendRow[], booted: () => BackendVm): void {
  describe.for(rows)("$name", (row) => {
    let lab: BackendLab | undefined;
    beforeAll(async () => {
      const { vm } = booted();
      if (vm !== undefined) lab = await createVmLab(vm, row);
    }, stepLimit);
    afterAll(async () => lab?.[Symbol.asyncDispose](), stepLimit);

    test.for(Object.entries(scenarios))(
      "%s",
      { timeout: stepLimit },
      async ([, scenario], { skip }) => {
        const { problem } = booted();
        if (problem !== undefined) return skip(problem);
        await scenario(lab ?? expect.fail(), row);
      },
    );
  });
}

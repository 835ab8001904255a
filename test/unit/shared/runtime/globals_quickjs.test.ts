import { hrtime } from "node:process";
import { expect, test } from "vitest";

import { againOf, openVm } from "./quickjs_vm.ts";

interface Own {
  readonly randoms: readonly number[];
  readonly pid: number;
  readonly euid: number;
  readonly now: number;
}

test("each process has its own numbers, wherever the memory that it begins with was made", async () => {
  const built = await openVm("test/unit/shared/runtime/globals_quickjs.probe.ts");
  const processes = [await againOf(built), await againOf(built)];
  const [a, b] = processes.map((vm) => JSON.parse(vm.evalCode("own()").toString()) as Own);
  const randoms = [...(a?.randoms ?? []), ...(b?.randoms ?? [])];
  expect(new Set(randoms).size).toBe(200);
  expect(randoms.every((number) => number >= 0 && number < 1)).toBe(true);
  expect(randoms.reduce((sum, number) => sum + number) / 200).toBeCloseTo(0.5, 0);
  expect([a?.pid, a?.euid]).toEqual([process.pid, process.geteuid?.()]);
  expect(Math.abs((b?.now ?? 0) - Number(hrtime.bigint()) / 1e6)).toBeLessThan(10_000);
});

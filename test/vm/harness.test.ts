/** The virtual machine itself. */
import { cpSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startVm, vmProblem } from "../lab/vm.ts";
import { fetchKernel } from "../lab/vm_image.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kernel-"));
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(folder, { recursive: true });
});

test("boots a second time before it fails", { timeout: 300_000 }, async ({ skip }) => {
  const problem = await vmProblem();
  if (problem !== undefined) return skip(problem);
  const kernel = await fetchKernel();
  const image = join(folder, "kernel");
  writeFileSync(image, "no kernel");
  const warn = vi.spyOn(console, "warn").mockReturnValue();
  await expect(startVm({}, { ...kernel, image })).rejects.toThrow("The virtual machine has ended");
  expect(warn.mock.calls).toEqual([[expect.stringContaining("boots a second time")]]);

  // What was wrong the first time is right the second.
  warn.mockImplementation(() => {
    cpSync(kernel.image, image);
  });
  await using vm = await startVm({}, { ...kernel, image });
  await using node = await vm.createNode();
  expect(await node.sh("uname -r")).toContain("cloud");
});

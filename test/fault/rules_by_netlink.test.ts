/**
 * Rules that are made by netlink are those that the firewall's tools make: both are listed alike, and
 * the tools find them.
 */
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

import { createSandbox } from "../helpers/cni.ts";
import { isBun, soak } from "../helpers/form.ts";
import type { Comparison } from "./rules_by_netlink.ts";

const script = fileURLToPath(import.meta.resolve("./rules_by_netlink.ts"));
const random = soak ? 1000 : 4;

// They are made in this test's own runtime, so once is enough.
describe.runIf(isBun)("rules made by netlink", () => {
  test("are listed as those of the tools, and go", { timeout: 1_000_000 }, async () => {
    await using sandbox = await createSandbox();
    const { exitCode, stdout, stderr } = await sandbox.exec(
      process.execPath,
      [script, String(random)],
      { timeout: 900_000 },
    );
    expect(exitCode, stderr).toBe(0);
    const compared = JSON.parse(stdout) as readonly Comparison[];
    expect(compared.length).toBeGreaterThan(2 * random);
    for (const { name, byTools, byNetlink, missing, left } of compared) {
      expect(byNetlink, name).toEqual(byTools);
      expect({ missing, left }, name).toEqual({ missing: undefined, left: [] });
    }
  });
});

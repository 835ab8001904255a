/**
 * What every start of every plugin loads where the runtime carries out the call. If a test here fails, that start has
 * become slower: see what it costs (make profile) before you change the list or the limit. In the engine a start loads
 * nothing, but what is touched of its memory is copied.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { expect, onTestFinished, test } from "vitest";

import { bundleForEngine } from "../../../../scripts/build/bundle.ts";
import { inputsOf } from "../../../../scripts/build/inputs.ts";

test("the Bun build loads no module of the runtime, and of the packages netlink's codecs", async () => {
  const { builtins, packages, bytes } = await inputsOf("plugins/main_bun.ts", "bun");
  expect({ builtins, packages }).toEqual({ builtins: [], packages: ["netlink"] });
  // The client of the agent is the first 7,000: all that a call runs that the agent carries out.
  expect(bytes).toBeLessThan(384_000);
});

test("the Node build loads few modules of the runtime, netlink's codecs and the FFI", async () => {
  const { builtins, packages, bytes } = await inputsOf("plugins/main_node.ts", "node");
  expect({ builtins, packages }).toEqual({
    builtins: ["node:fs", "node:path", "node:sea"],
    packages: ["netlink"],
  });
  expect(bytes).toBeLessThan(373_000);
});

test("the engine's script has the plugins, and no tool or daemon", async () => {
  const script = await bundleForEngine("plugins/main_quickjs.ts");
  // Not the whole of it in a message.
  const loads = /\bimport\(|main_(?:tools|daemons|agent)/.exec(script)?.[0];
  expect(loads).toBeUndefined();
  expect(script.length).toBeLessThan(400_000);
});

test("what IPv6 addresses need is loaded when there is one", async () => {
  const { lazy } = await inputsOf("plugins/main_bun.ts", "bun");
  expect(lazy).toContain("node_modules/ip-cidr/index.js");
});

test("an import more is noticed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "inputs-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const entry = relative("", join(folder, "entry.ts"));
  const ajv = join(process.cwd(), "node_modules/ajv/dist/ajv.js");
  writeFileSync(
    entry,
    `import { connect } from "node:net"; import ajv from "${ajv}"; console.log(connect, ajv);`,
  );
  const { builtins, packages, bytes } = await inputsOf(entry, "bun");
  expect(builtins).toEqual(["node:net"]);
  expect(packages).toContain("ajv");
  expect(bytes).toBeGreaterThan(100_000);
});

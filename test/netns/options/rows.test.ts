/** Every option that docs/plugins lists has a test. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { optionRows } from "../../helpers/option_rows.ts";

test.for(["flannel", "bridge", "host-local", "portmap"])("%s", (plugin) => {
  const file = new URL(`${plugin.replace("-", "_")}.test.ts`, import.meta.url);
  const titles = Array.from(
    readFileSync(file, "utf8").matchAll(/^ {2}test\("([^"]*)"/gm),
    ([, title]) => title,
  );
  expect(titles.length).toBeGreaterThan(5);
  expect(titles).toEqual(optionRows(plugin));
});

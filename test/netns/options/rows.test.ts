/** That none of the README's rows of options is without a test. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { optionRows } from "../../helpers/readme.ts";

test.for(["flannel", "bridge", "host-local", "portmap"])("%s", (plugin) => {
  const file = new URL(`${plugin.replace("-", "_")}.test.ts`, import.meta.url);
  const titles = Array.from(
    readFileSync(file, "utf8").matchAll(/^ {2}test\("([^"]*)"/gm),
    ([, title]) => title,
  );
  expect(titles).toEqual(optionRows(plugin));
});

/** That the docs keep their word. */
import { globSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const [, faults = ""] = readFileSync("docs/compatibility.md", "utf8").split("## Faults that users");
const tags = Array.from(faults.matchAll(/^\| ([A-Z]\d+) \|/gm), ([, tag = ""]) => tag);
const tests = globSync("test/{netns,interop,e2e}/**/*.test.ts")
  .map((file) => readFileSync(file, "utf8"))
  .join("\n");

test("there are faults to go through", () => {
  expect(tags.length).toBeGreaterThan(20);
});

test.for(tags)("%s has a test that is named by it", (tag) => {
  const named = new RegExp(`\\b(test|describe)\\b[^\\n]*"${tag}[: ]|^[ \\])(]*"${tag}[: ]`, "m");
  expect(named.test(tests)).toBe(true);
});

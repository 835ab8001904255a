/** The docs, the build and the installer have the names of the one table. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { fileNames, pluginNames, toolNames } from "../../../plugins/builtins.ts";
import { tools } from "../../../plugins/main_tools.ts";

test("each tool has a name, and each name a tool", () => {
  expect(Object.keys(tools).toSorted()).toEqual([...toolNames].toSorted());
});

test("no two of plugins and tools share a name", () => {
  const names = [...pluginNames(), ...toolNames];
  expect(new Set(names).size).toBe(names.length);
});

test("the README names every file of a build", () => {
  const readme = readFileSync("README.md", "utf8");
  for (const name of fileNames()) expect(readme).toMatch(new RegExp(`\\b${name}\\b`));
});

test("the first name is that of the file which the others are links to", () => {
  expect(fileNames()[0]).toBe("flannel");
});

/** The docs, the build and the installer have the names of the one table. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  builtins,
  daemonNames,
  fileNames,
  pluginNames,
  toolNames,
} from "../../../plugins/builtins.ts";
import { daemons } from "../../../plugins/main_daemons.ts";
import { tools } from "../../../plugins/main_tools.ts";

test("each plugin has a name, and each name a plugin", () => {
  expect(builtins.map(({ name }) => name)).toEqual(pluginNames);
});

test("each tool has a name, and each name a tool", () => {
  expect(Object.keys(tools).toSorted()).toEqual([...toolNames].toSorted());
});

test("each daemon has a name, and each name a daemon", () => {
  expect(Object.keys(daemons).toSorted()).toEqual([...daemonNames].toSorted());
});

test("no two programs share a name", () => {
  const names = [...pluginNames, ...toolNames, ...daemonNames];
  expect(new Set(names).size).toBe(names.length);
});

test("the README names every file of a build", () => {
  const readme = readFileSync("README.md", "utf8");
  for (const name of fileNames()) expect(readme).toMatch(new RegExp(`\\b${name}\\b`));
});

test("the first name is that of the file which the others are links to", () => {
  expect(fileNames()[0]).toBe("flannel");
});

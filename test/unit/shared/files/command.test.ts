import { expect, it } from "vitest";

import { commandFolders, commandPath } from "../../../../shared/files/command.ts";

it.each([undefined, ""])("without a PATH (%j) commands are where they usually are", (path) => {
  expect(commandFolders(path)).toContain("/usr/sbin");
  expect(commandPath(path).split(":")).toEqual(commandFolders(path));
});

it("a PATH is taken as it is", () => {
  expect(commandPath("/a:/b")).toBe("/a:/b");
  expect(commandFolders("/a:/b")).toEqual(["/a", "/b"]);
});

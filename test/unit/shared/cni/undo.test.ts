import { describe, expect, it } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import { UndoStack } from "../../../../shared/cni/undo.ts";

describe("UndoStack", () => {
  it("undoes the latest first, one after the other, and only once", async () => {
    const done: string[] = [];
    const undo = new UndoStack();
    undo.push("first", () => {
      done.push("first");
    });
    undo.push("second", async () => {
      await Promise.resolve();
      done.push("second");
    });
    expect(await undo.run()).toEqual([]);
    expect(done).toEqual(["second", "first"]);
    expect(await undo.run()).toEqual([]);
    expect(done).toHaveLength(2);
  });

  it("goes on after one that fails, and says what is left behind", async () => {
    const done: string[] = [];
    const undo = new UndoStack();
    undo.push("the first", () => {
      done.push("first");
    });
    const cause = new Error("EROFS");
    undo.push("the file", () => {
      throw cause;
    });
    undo.push("the link", () => Promise.reject(cause));
    const failures = await undo.run();
    expect(done).toEqual(["first"]);
    expect(failures.map(({ code }) => code)).toEqual([Code.Incomplete, Code.Incomplete]);
    expect(failures[0]?.message).toContain("the link");
    expect(failures[1]?.message).toContain("the file");
    expect(failures[1]?.message).toContain("EROFS");
    expect(failures[1]?.cause).toBe(cause);
  });
});

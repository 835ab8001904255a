import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { errnoOf, Failure, isFailure, messageOf } from "../../../../shared/base/failure.ts";

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return expect.fail("nothing was thrown");
}

describe("Failure", () => {
  it("keeps what it was made of", () => {
    const cause = new Error("cause");
    const failure = new Failure("kernel", "Cannot A.", "Look at A.", { cause, errno: 16 });
    expect(failure).toMatchObject({ kind: "kernel", advice: "Look at A.", cause, errno: 16 });
    expect(failure.message).toBe("Cannot A.");
  });

  it("is of one kind", () => {
    expect(isFailure(new Failure("io", "", ""), "io")).toBe(true);
    expect(isFailure(new Failure("io", "", ""), "busy")).toBe(false);
    expect(isFailure(new Error("io"), "io")).toBe(false);
  });
});

describe("messageOf", () => {
  it.each([
    [new Error("text"), "text"],
    ["text", "text"],
    [7, "7"],
    [undefined, "undefined"],
  ])("of %s", (thrown, message) => {
    expect(messageOf(thrown)).toBe(message);
  });
});

describe("errnoOf", () => {
  it("is the name that a system call's error has", () => {
    expect(errnoOf(thrownBy(() => readFileSync("/nowhere/at/all")))).toBe("ENOENT");
  });

  it.each([
    new Error("no code"),
    Object.assign(new Error("a number"), { code: 7 }),
    { code: "ENOENT" },
    undefined,
  ])("is nothing for %s", (thrown) => {
    expect(errnoOf(thrown)).toBeUndefined();
  });
});

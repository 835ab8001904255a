import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { CniError, Code, joinErrors } from "../../../../shared/cni/error.ts";
import { errnoOf, messageOf } from "../../../../shared/base/failure.ts";

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return expect.fail("nothing was thrown");
}

describe("Code", () => {
  it("has the numbers of the CNI specification, and ours from 100 on", () => {
    expect(Code).toMatchObject({
      IncompatibleVersion: 1,
      UnsupportedField: 2,
      UnknownContainer: 3,
      InvalidEnvironment: 4,
      IoFailure: 5,
      DecodingFailure: 6,
      InvalidNetworkConfig: 7,
      TryAgainLater: 11,
      PluginNotAvailable: 50,
      LimitedConnectivity: 51,
    });
    const numbers = Object.values(Code);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(numbers.filter((code) => code > 51 && code < 100)).toEqual([]);
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

  it.each([new Error("no code"), new CniError(7, "a number", ""), { code: "ENOENT" }, undefined])(
    "is nothing for %s",
    (thrown) => {
      expect(errnoOf(thrown)).toBeUndefined();
    },
  );
});

describe("joinErrors", () => {
  const first = new CniError(Code.Kernel, "Cannot A.", "Look at A.");
  const second = new CniError(Code.Firewall, "Cannot B.", "Look at B.");
  const third = new CniError(Code.Firewall, "Cannot C.", "Look at B.");

  it("leaves one as it is", () => {
    expect(joinErrors([first])).toBe(first);
  });

  it("keeps the first one's code, and says everything once", () => {
    const joined = joinErrors([first, second, third]);
    expect(joined.code).toBe(Code.Kernel);
    for (const part of ["Cannot A", "Cannot B", "Cannot C"]) expect(joined.message).toContain(part);
    expect(joined.details).toBe("Look at A. Look at B.");
    expect(joined.cause).toBe(first);
  });

  it("needs one", () => {
    expect(() => joinErrors([])).toThrow(RangeError);
  });
});

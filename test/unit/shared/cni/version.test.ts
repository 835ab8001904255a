import { describe, expect, it } from "vitest";

import { CniError, Code } from "../../../../shared/cni/error.ts";
import {
  atLeast,
  hasVerb,
  requireVerb,
  versionOf,
  versions,
} from "../../../../shared/cni/version.ts";

function codeOf(action: () => unknown): number {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return error.code;
    throw error;
  }
  return expect.fail("nothing was thrown");
}

describe("versionOf", () => {
  it.each(versions)("knows %s", (version) => {
    expect(versionOf({ cniVersion: version })).toBe(version);
  });

  it.each([{}, { cniVersion: "" }, { cniVersion: null }])("takes %j for 0.1.0", (value) => {
    expect(versionOf(value)).toBe("0.1.0");
  });

  it.each(["1.2.0", "0.5.0", "1", "v1.0.0", "1.0.0 "])("does not speak %j", (cniVersion) => {
    expect(codeOf(() => versionOf({ cniVersion }))).toBe(Code.IncompatibleVersion);
  });

  it("wants a string", () => {
    expect(codeOf(() => versionOf({ cniVersion: 1 }))).toBe(Code.DecodingFailure);
  });
});

describe("atLeast", () => {
  it("compares", () => {
    expect(atLeast("1.0.0", "0.4.0")).toBe(true);
    expect(atLeast("0.4.0", "0.4.0")).toBe(true);
    expect(atLeast("0.3.1", "0.4.0")).toBe(false);
  });
});

describe("verbs", () => {
  it.each([
    ["CHECK", "0.3.1", "0.4.0"],
    ["GC", "1.0.0", "1.1.0"],
    ["STATUS", "1.0.0", "1.1.0"],
  ] as const)("%s is in none before %s", (verb, before, first) => {
    expect([hasVerb(before, verb), hasVerb(first, verb)]).toEqual([false, true]);
    expect(() => {
      requireVerb(before, verb, "the file");
    }).toThrow(`Cannot run ${verb}: cniVersion must be ${first} or later (got "${before}").`);
    expect(() => {
      requireVerb(first, verb, "the file");
    }).not.toThrow();
  });

  it("that were always there are in the first", () => {
    for (const verb of ["ADD", "DEL", "VERSION"] as const)
      expect(hasVerb("0.1.0", verb)).toBe(true);
  });
});

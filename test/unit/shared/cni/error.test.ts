import { describe, expect, it } from "vitest";

import { Failure } from "../../../../shared/base/failure.ts";
import { asCniError, CniError, Code, joinErrors } from "../../../../shared/cni/error.ts";

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

describe("asCniError", () => {
  it("gives each kind of failure a code, and keeps its words", () => {
    const failure = new Failure("busy", "Cannot lock.", "Wait.");
    expect(asCniError(failure)).toMatchObject({
      code: Code.TryAgainLater,
      message: "Cannot lock.",
      details: "Wait.",
      cause: failure,
    });
    expect(asCniError(new Failure("kernel", "", "")).code).toBe(Code.Kernel);
  });

  it("takes a system call's error for the disk's or the kernel's, and leaves bugs alone", () => {
    const full = Object.assign(new Error("ENOSPC: no space left"), { code: "ENOSPC" });
    expect(asCniError(full)).toMatchObject({ code: Code.IoFailure });
    const bug = Object.assign(new TypeError("x"), { code: "ERR_INVALID_ARG_TYPE" });
    expect(() => asCniError(bug)).toThrow(bug);
  });

  it("leaves a CniError as it is", () => {
    const error = new CniError(Code.Conflict, "Cannot A.", "Look at A.");
    expect(asCniError(error)).toBe(error);
  });
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
    expect(joined.message).toBe("Cannot A; Cannot B; Cannot C.");
    expect(joined.details).toBe("Look at A. Look at B.");
    expect(joined.cause).toBe(first);
  });

  it("needs one", () => {
    expect(() => joinErrors([])).toThrow(RangeError);
  });
});

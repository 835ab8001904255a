import { writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { parseResolvConf, readResolvConf } from "../../../../plugins/host-local/resolv_conf.ts";
import { Code } from "../../../../shared/cni/error.ts";
import { temporaryFolder } from "../../shared/ipam/helpers.ts";

describe("parseResolvConf", () => {
  it("reads what the reference plugin reads", () => {
    // The reference plugin's result for this text.
    const text = [
      "nameserver 1.1.1.1",
      "# c",
      ";d",
      "search a b",
      "search c",
      "options ndots:2 x",
      "domain foo bar",
      " nameserver  fd00::1 # hi\r",
      "domain baz",
      "nameserver",
      "sortlist 1",
      "#nameserver 2.2.2.2",
      "",
    ].join("\n");
    expect(parseResolvConf(text)).toEqual({
      nameservers: ["1.1.1.1", "fd00::1"],
      domain: "baz",
      search: ["a", "b", "c"],
      options: ["ndots:2", "x"],
    });
  });

  it("says nothing of an empty file", () => {
    expect(parseResolvConf("")).toEqual({});
  });
});

describe("readResolvConf", () => {
  it("reads a file", () => {
    using folder = temporaryFolder();
    writeFileSync(`${folder.path}/resolv.conf`, "nameserver 192.0.2.1\n");
    expect(readResolvConf(`${folder.path}/resolv.conf`)).toEqual({ nameservers: ["192.0.2.1"] });
  });

  it("names a file that is not there, or none", () => {
    using folder = temporaryFolder();
    for (const path of [`${folder.path}/none`, folder.path]) {
      expect(() => readResolvConf(path)).toThrow(
        expect.objectContaining({
          code: Code.IoFailure,
          message: expect.stringContaining(path),
          details: expect.stringContaining("resolvConf"),
        }),
      );
    }
  });
});

import { describe, expect, it } from "vitest";

import { endpointIn, matchAddress, wordsOf } from "../../../../shared/firewall/rule_words.ts";

describe("wordsOf", () => {
  it("reads quotes and backslashes", () => {
    expect(wordsOf('-m comment --comment "a \\"b\\" \\\\ c"  -j DROP')).toEqual([
      "-m",
      "comment",
      "--comment",
      'a "b" \\ c',
      "-j",
      "DROP",
    ]);
  });

  it.each(['--comment "open', 'a"b', '"a"b'])("gives up on %s", (rule) => {
    expect(wordsOf(rule)).toBeUndefined();
  });
});

describe("matchAddress", () => {
  it.each([
    "10.0.0.0/0",
    "10.0.0.1/24",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "10.0.0.0/8/8",
    "fd00::1",
    "pod",
    "",
  ])("has nothing for %j in IPv4", (text) => {
    expect(matchAddress(text, "source", 4, false)).toBeUndefined();
  });

  it("masks a part of a byte alone", () => {
    expect(matchAddress("10.0.0.0/16", "source", 4, false)).toHaveLength(2);
    expect(matchAddress("10.0.0.0/17", "source", 4, false)).toHaveLength(3);
    expect(matchAddress("fd00::/61", "source", 6, false)).toHaveLength(3);
  });
});

describe("endpointIn", () => {
  it("reads an address and a port", () => {
    expect(endpointIn("10.244.1.2:80", 4)).toEqual({
      address: Buffer.of(10, 244, 1, 2),
      port: 80,
    });
    expect(endpointIn("[fd00::2]:8080", 6)?.port).toBe(8080);
  });

  it.each(["10.244.1.2", "10.244.1.2:65536", "[fd00::2]:80", "10.244.1.2:80-90", undefined])(
    "has nothing for %s in IPv4",
    (text) => {
      expect(endpointIn(text, 4)).toBeUndefined();
    },
  );
});

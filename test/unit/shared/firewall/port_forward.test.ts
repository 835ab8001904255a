import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { describeMapping, overlap } from "../../../../shared/firewall/port_forward.ts";
import { anyMapping } from "./arbitraries.ts";
import { mapping } from "./forwards.ts";

describe("overlap", () => {
  it("is the same either way round, and of each with itself", () => {
    fc.assert(
      fc.property(anyMapping, anyMapping, (a, b) => {
        expect(overlap(a, b)).toBe(overlap(b, a));
        expect(overlap(a, a)).toBe(true);
      }),
    );
  });

  it("does not ask for the port of the container", () => {
    expect(overlap(mapping("8080:80/tcp"), mapping("8080:81/tcp"))).toBe(true);
  });
});

describe("describeMapping", () => {
  it.each([
    ["8080:80/tcp", "8080/tcp"],
    ["192.0.2.1:8080:80/udp", "192.0.2.1:8080/udp"],
    ["[2001:db8::1]:8080:80/sctp", "[2001:db8::1]:8080/sctp"],
  ])("says of %s: %s", (text, description) => {
    expect(describeMapping(mapping(text))).toBe(description);
  });
});

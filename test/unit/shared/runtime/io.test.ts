import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { writeFully } from "../../../../shared/runtime/io.ts";

/** A pipe that accepts so many bytes at a time; -1 is EAGAIN. After the list it accepts everything. */
function pipe(takes: readonly number[]) {
  const left = [...takes];
  const heard: Buffer[] = [];
  let waits = 0;
  return {
    write: (bytes: Uint8Array, at: number): number => {
      const count = left.shift() ?? bytes.length - at;
      if (count === -1) throw Object.assign(new Error("full"), { code: "EAGAIN" });
      heard.push(Buffer.from(bytes.subarray(at, at + count)));
      return Math.min(count, bytes.length - at);
    },
    wait: () => {
      waits++;
    },
    heard: () => Buffer.concat(heard).toString("utf8"),
    waits: () => waits,
  };
}

/** EAGAIN, so many times. */
function refusals(count: number): number[] {
  return Array.from({ length: count }, () => -1);
}

function gone(): never {
  throw Object.assign(new Error("gone"), { code: "EPIPE" });
}

describe("writeFully", () => {
  it("writes everything, in order, however slow the reader is", () => {
    const takes = fc.array(fc.integer({ min: -1, max: 3 }), { maxLength: 20 });
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), takes, (text, counts) => {
        const slow = pipe(counts);
        writeFully(text, slow.write, slow.wait);
        expect(slow.heard()).toBe(text);
        expect(slow.waits()).toBeLessThanOrEqual(counts.filter((count) => count === -1).length);
      }),
    );
  });

  it("waits 24 times in a row, and not once more", () => {
    const slow = pipe([...refusals(24), 1, ...refusals(24)]);
    writeFully("text", slow.write, slow.wait);
    expect(slow.heard()).toBe("text");
    expect(slow.waits()).toBe(48);
    const stuck = pipe(refusals(25));
    expect(() => {
      writeFully("text", stuck.write, stuck.wait);
    }).toThrow("full");
  });

  it("does not wait where the reader is gone", () => {
    const { wait, waits } = pipe([]);
    expect(() => {
      writeFully("text", gone, wait);
    }).toThrow("gone");
    expect(waits()).toBe(0);
  });

  it("has nothing to do for an empty text", () => {
    const { wait } = pipe([]);
    writeFully("", () => expect.fail("written"), wait);
  });
});

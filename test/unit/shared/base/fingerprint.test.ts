import fc from "fast-check";
import { expect, it } from "vitest";
import { fingerprint } from "../../../../shared/base/fingerprint.ts";

const texts = fc.array(fc.string({ maxLength: 20 }), { maxLength: 5 });

it("is the same for the same texts, and another one for others", () => {
  fc.assert(
    fc.property(texts, texts, (a, b) => {
      expect(fingerprint([...a])).toBe(fingerprint(a));
      const isSame = JSON.stringify(a) === JSON.stringify(b);
      expect(fingerprint(a) === fingerprint(b)).toBe(isSame);
    }),
  );
});

it("tells texts apart that differ in one place, and is an exact integer", () => {
  const all = Array.from({ length: 70_000 }, (_, number) =>
    fingerprint([`{"VNI":1,"VtepMAC":"02:00:00:00:${number >> 8}:${number & 255}"}`, "10.0.0.1"]),
  );
  expect(new Set(all).size).toBe(70_000);
  expect(all.every((number) => Number.isSafeInteger(number))).toBe(true);
  expect(fingerprint(["a", "b"])).not.toBe(fingerprint(["ab", ""]));
});

/** What is printed for people can neither move the cursor nor begin a new line. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { printable, quote, withoutFullStop } from "../../../../shared/base/text.ts";

/** Characters besides C0 that act on terminals or readers: C1, bidi controls, separators, lone surrogates. */
const ACTIVE = [
  ...Array.from({ length: 0x20 }, (_, code) => code),
  ...Array.from({ length: 0x21 }, (_, at) => 0x7f + at),
  ...[0xad, 0x061c, 0x200b, 0x200e, 0x200f, 0x2028, 0x2029, 0xfeff, 0xd800, 0xdfff, 0xe0001],
  ...[0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069],
];

test.for(ACTIVE)("U+%i is shown as its code", (code) => {
  const text = `a${String.fromCodePoint(code)}b`;
  expect(printable(text)).toMatch(/^a(?:\\n|\\t|(?:\\u[0-9a-f]{4}){1,2})b$/);
  expect(quote(text)).toMatch(/^"a\\[^]+b"$/);
});

test.for(["10.244.1.2", "web-1", "größer ≠ 小", "🙂", "a\\b", ""])(
  "%j is left as it is",
  (text) => {
    expect(printable(text)).toBe(text);
  },
);

test("a printed JSON text means the same", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(JSON.parse(printable(JSON.stringify(text)))).toBe(text);
    }),
  );
});

test("quote cuts what is too long for a message", () => {
  expect(quote("x".repeat(100))).toBe(`"${"x".repeat(64)}…"`);
});

test.for([
  ["Cannot run.", "Cannot run"],
  ["Cannot run", "Cannot run"],
  ["Cannot run..", "Cannot run."],
  ["", ""],
] as const)("withoutFullStop makes %j %j", ([sentence, text]) => {
  expect(withoutFullStop(sentence)).toBe(text);
});

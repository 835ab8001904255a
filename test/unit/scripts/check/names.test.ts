import { expect, test } from "vitest";
import { refusedNames } from "../../../../scripts/check/names.ts";

test.for([
  "const one = 1;",
  "const [first, ...one] = [];",
  "const { a: one, ...rest } = b;",
  "const { one = 1 } = b;",
  "const f = (one) => 1;",
  "const f = ({ a: [one] }) => 1;",
  "function one() {}",
  "function f(one) {}",
  "for (const one of all) f();",
  "try { f(); } catch (one) { g(); }",
  "class A { one = 1; }",
  "class A { #one = 1; }",
  "class A { one() {} }",
  "class A { f(one) {} }",
  "interface A { readonly one: number }",
  "interface A { one(): void }",
  "interface A { f(one: number): void }",
  "type F = (one: number) => void;",
])("%s declares it", (line) => {
  expect(refusedNames("a.ts", `f();\n${line}\n`)).toEqual([
    "a.ts:2: one must be what it is (peer, record, route), or a and b where two are compared",
  ]);
});

test.for([
  "const peer = { one: 1, other: 2 };",
  "const { one: peer } = answer;",
  "call(answer.one, one);",
  'const text = "one";',
  "const value = answer as { readonly peer: 1 };",
  "// one of the others",
])("%s does not", (line) => {
  expect(refusedNames("a.ts", line)).toEqual([]);
});

test("each has a better word", () => {
  expect(refusedNames("a.ts", "const there = list(there);\nfunction f(said, around) {}")).toEqual([
    "a.ts:1: there must be present",
    "a.ts:2: said must be output, message or warnings",
    "a.ts:2: around must be env or context",
  ]);
});

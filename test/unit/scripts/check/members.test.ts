import { expect, test } from "vitest";
import { membersOf, unusedIn } from "../../../../scripts/check/members.ts";

const inClass = (member: string, rest = ""): readonly string[] =>
  unusedIn([membersOf("a.ts", `export class A {\n  ${member}\n}\n`), membersOf("b.ts", rest)]);

test.for([
  "close(): void {}",
  "static close(): void {}",
  "async close(): Promise<void> {}",
  "get close(): number { return 1; }",
  "readonly close: number = 1;",
  "close(): void { this.close = 1; }",
])("%s is not used", (member) => {
  expect(inClass(member)).toEqual(["a.ts:2: nothing uses the member close"]);
});

test.for([
  "a.close();",
  "const run = a?.close;",
  'a["close"]();',
  "const { close } = a;",
  "const { close: end } = a;",
  "a.close += 1;",
])("%s uses it", (rest) => {
  expect(inClass("close(): void {}", rest)).toEqual([]);
});

test.for(["close();", "a[close]();", "a.close = 1;", "const a = { close: 1 };", "// a.close()"])(
  "%s does not",
  (rest) => {
    expect(inClass("close(): void {}", rest)).toHaveLength(1);
  },
);

test.for([
  "constructor() {}",
  "override close(): void {}",
  "[Symbol.dispose](): void {}",
  "#close(): void {}",
  "set close(value: number) {}",
])("%s need not be used by name", (member) => {
  expect(inClass(member)).toEqual([]);
});

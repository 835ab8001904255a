import { describe, expect, it } from "vitest";

import {
  isDeeperThan,
  isJsonArray,
  isJsonObject,
  parseJson,
} from "../../../../shared/base/json.ts";

it.each([null, true, 1, "a", [{}], { a: null }])("parseJson reads %j", (value) => {
  expect(parseJson(JSON.stringify(value))).toEqual(value);
});

it.each(["", "{", "undefined", "{'a':1}", "\0"])("parseJson finds nothing in %j", (text) => {
  expect(parseJson(text)).toBeUndefined();
});

it.each([
  [undefined, false],
  ["a", false],
  [[[1]], false],
  [{ a: [{}] }, true],
  [[1, { a: { b: null } }], true],
])("isDeeperThan two levels: %j", (value, isDeeper) => {
  expect(isDeeperThan(value, 2)).toBe(isDeeper);
});

it("isDeeperThan needs no stack for what is nested very deep", () => {
  expect(isDeeperThan(parseJson("[".repeat(50_000) + "]".repeat(50_000)), 8)).toBe(true);
});

describe("an array is no object", () => {
  it.each([
    [[], true, false],
    [{}, false, true],
    [null, false, false],
    ["a", false, false],
    [undefined, false, false],
  ])("%j", (value, isArray, isObject) => {
    expect(isJsonArray(value)).toBe(isArray);
    expect(isJsonObject(value)).toBe(isObject);
  });
});

import { describe, expect, it } from "vitest";

import { isJsonArray, isJsonObject, parseJson } from "../../../../shared/base/json.ts";

it.each([null, true, 1, "a", [{}], { a: null }])("parseJson reads %j", (value) => {
  expect(parseJson(JSON.stringify(value))).toEqual(value);
});

it.each(["", "{", "undefined", "{'a':1}", "\0"])("parseJson finds nothing in %j", (text) => {
  expect(parseJson(text)).toBeUndefined();
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

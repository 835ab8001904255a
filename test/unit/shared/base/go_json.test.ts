import { expect, it } from "vitest";

import type { JsonObject } from "../../../../shared/base/json.ts";
import { foldKeys } from "../../../../shared/base/go_json.ts";

it("finds keys in any letter case, the later of two, and names the unknown ones", () => {
  const object = { VNI: 1, vni: 2, "\u{212a}ey": 3, Type: null, other: 4, __proto__x: 5 };
  expect(foldKeys(object, ["VNI", "Key", "Type"])).toEqual({
    object: { VNI: 2, Key: 3 },
    unknown: ["other", "__proto__x"],
  });
});

it("is not misled by names that every object has", () => {
  const text = '{"__proto__":{"VNI":9},"constructor":1,"toString":2}';
  const object = JSON.parse(text) as JsonObject;
  expect(foldKeys(object, ["VNI"])).toEqual({
    object: {},
    unknown: ["__proto__", "constructor", "toString"],
  });
});

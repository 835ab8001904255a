import { expect, test } from "vitest";
import { ChangedIds } from "../../../../../daemons/flanneld/leases/changed_ids.ts";

test("at first anything may have changed, then what was added since it was taken", () => {
  const changed = new ChangedIds();
  changed.add("n1");
  expect(changed.take()).toBeUndefined();
  expect(changed.take()).toEqual(new Set());
  changed.add("n2");
  changed.addAll(new Set(["n3", "n2"]));
  expect(changed.take()).toEqual(new Set(["n2", "n3"]));
  expect(changed.take()).toEqual(new Set());
});

test("of anything and something it is anything", () => {
  const changed = new ChangedIds();
  changed.take();
  changed.add("n1");
  changed.addAll(undefined);
  changed.add("n2");
  expect(changed.take()).toBeUndefined();
});

test("of many it is anything", () => {
  const changed = new ChangedIds();
  changed.take();
  changed.addAll(new Set(Array.from({ length: 500 }, (_, at) => `n${at}`)));
  expect(changed.take()?.size).toBe(500);
  changed.addAll(new Set(Array.from({ length: 501 }, (_, at) => `n${at}`)));
  expect(changed.take()).toBeUndefined();
});

import { describe, expect, test } from "vitest";
import { nameIn, sample } from "../../../helpers/sample.ts";

const numbers = Array.from({ length: 1000 }, (_, n) => n);
const sampleOf = (table: string, rows: readonly number[], divisor = 4) =>
  sample(table, rows, String, divisor);

describe("a sample", () => {
  test("is about one row of so many", () => {
    expect(sampleOf("table", numbers).length).toBeGreaterThan(200);
    expect(sampleOf("table", numbers).length).toBeLessThan(300);
    expect(sampleOf("table", numbers, 1)).toEqual(numbers);
  });

  test("is the same one each time, whatever the other rows are", () => {
    const whole = sampleOf("table", numbers);
    const half = numbers.slice(500);
    expect(sampleOf("table", half)).toEqual(whole.filter((n) => n >= 500));
    expect(sampleOf("table", numbers.toReversed())).toEqual(whole.toReversed());
  });

  test("is another one in another table", () => {
    expect(sampleOf("another table", numbers)).not.toEqual(sampleOf("table", numbers));
  });

  test("has one row at least, if there is any", () => {
    const tables = numbers.map((n) => sampleOf(`table ${n}`, [1, 2, 3], 1000));
    expect(tables.filter(({ length }) => length === 0)).toEqual([]);
    expect(new Set(tables.flat())).toEqual(new Set([1, 2, 3]));
    expect(sampleOf("table", [])).toEqual([]);
  });
});

test.for<[string, unknown, string]>([
  ["refuses %s", "null", '"null"'],
  ["$name ($backend)", { name: "a", backend: "b", more: 1 }, '["a","b"]'],
  ["all of it", { name: "a" }, '{"name":"a"}'],
])("the name of a row in %j: %j", ([title, row, name]) => {
  expect(nameIn(title, row)).toBe(name);
});

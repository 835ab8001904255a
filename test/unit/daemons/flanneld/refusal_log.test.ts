import { expect, test } from "vitest";

import { RefusalLog } from "../../../../daemons/flanneld/refusal_log.ts";

function logged() {
  const lines: string[] = [];
  return { lines, refusals: new RefusalLog({ warn: (line) => void lines.push(line) }) };
}

test("each peer has a line for each reason", () => {
  const { lines, refusals } = logged();
  refusals.update(new Map([["a", "no subnet"]]));
  refusals.update(new Map([["a", "no subnet"]]));
  refusals.update(new Map([["a", "no address"]]));
  expect(lines).toEqual([
    "The peer a is refused: no subnet.",
    "The peer a is refused: no address.",
  ]);
  expect(refusals.count).toBe(2);
});

test("one that is refused again after it was admitted has a line again", () => {
  const { lines, refusals } = logged();
  refusals.update(new Map([["a", "no subnet"]]));
  refusals.update(new Map());
  refusals.update(new Map([["a", "no subnet"]]));
  expect(lines).toHaveLength(2);
});

test("no more than a hundred have lines, but all are counted", () => {
  const { lines, refusals } = logged();
  refusals.update(new Map(Array.from({ length: 150 }, (_, n) => [`p${n}`, "no subnet"])));
  expect(lines).toHaveLength(100);
  expect(refusals.count).toBe(150);
});

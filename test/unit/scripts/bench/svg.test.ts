import { expect, test } from "vitest";
import { pictureOf } from "../../../../scripts/bench/svg.ts";
import { run } from "./figures.ts";

const picture = pictureOf(run);
/** Pixels of a character at font-size 12, in a wide font (DejaVu Sans). */
const characterWidth = 7;
const barsAt = Math.min(
  ...Array.from(picture.matchAll(/<rect x="(\d+)" y="\d+" width="[\d.]+" height="9"/g), ([, x]) =>
    Number(x),
  ),
);

test("has a bar for each side of each row", () => {
  const bars = [...picture.matchAll(/height="9"/g)];
  expect(bars).toHaveLength(run.rows.length * 3);
});

test("no title runs into the bars", () => {
  const titles = Array.from(
    picture.matchAll(/<text x="(\d+)" [^>]*>([^<]*: (?:ADD|DEL))</g),
    ([, x, title = ""]) => Number(x) + title.length * characterWidth,
  );
  expect(titles).toHaveLength(run.rows.length);
  expect(Math.max(...titles)).toBeLessThan(barsAt);
});

test("the longest bar and its figure fit", () => {
  const ends = Array.from(
    picture.matchAll(/<text x="([\d.]+)" [^>]*font-size="10">([\d.]+)</g),
    ([, x, figure = ""]) => Number(x) + figure.length * characterWidth,
  );
  const [, width] = /width="(\d+)"/.exec(picture) ?? [];
  expect(Math.max(...ends)).toBeLessThan(Number(width));
});

test("a row that the run has not measured is left out", () => {
  const some = pictureOf({ ...run, rows: run.rows.slice(0, 2) });
  expect(some).toContain("portmap, one host port: ADD");
  expect(some).not.toContain("16 pods at once");
});

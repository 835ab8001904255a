import { expect, test } from "vitest";
import { chartOf } from "../../../../scripts/bench/chart.ts";
import type { Bar } from "../../../../scripts/bench/chart.ts";

const rows = ["flannel ADD", "200 pods after a reboot, until the last is up"];
const bars = rows.flatMap((row): Bar[] => [
  { row, side: "ours", ratio: 1.17, time: "15.2 ms" },
  { row, side: "agent", ratio: 0.42, time: "5.2 s" },
]);

test("shows each figure, each row and each side's name once", async () => {
  const chart = await chartOf(bars, "the Go plugins 1.9.1");
  const texts = Array.from(chart.matchAll(/<text [^>]*>([^<]+)<\/text>/g), ([, text]) => text);
  expect(texts).toEqual(
    expect.arrayContaining([
      ...["Time of a call; the Go plugins 1.9.1 = 1", ...rows],
      ...["flannel-cni alone", "with the agent", "1.17  (15.2 ms)", "0.42  (5.2 s)"],
    ]),
  );
  expect(texts).not.toContain("with the agent, native client");
});

test("the label of the longest bar is inside the picture", async () => {
  const chart = await chartOf(bars, "the reference");
  const width = Number(/<svg [^>]*width="(\d+)"/.exec(chart)?.[1]);
  const left = Number(/<g [^>]*transform="translate\((\d+)/.exec(chart)?.[1]);
  const label = /translate\(([\d.]+),[\d.]+\)[^>]*>1\.17 /.exec(chart)?.[1];
  /** Pixels of a character at font-size 10, in a wide font (DejaVu Sans). */
  const characterWidth = 6;
  expect(left + Number(label) + "1.17  (15.2 ms)".length * characterWidth).toBeLessThan(width);
});

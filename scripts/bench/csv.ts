/** All figures of a run as comma-separated values. */
import { cpuOf } from "./figures.ts";
import type { Figures, Row } from "./figures.ts";

const headings = [
  ...["scenario", "call", "verb"],
  ...["ours_ms", "ours_lower", "ours_upper"],
  ...["agent_ms", "agent_lower", "agent_upper", "agent_cpu_ms"],
  ...["native_ms", "native_lower", "native_upper", "native_cpu_ms"],
  ...["reference_ms", "reference_lower", "reference_upper"],
  ...["floor_ms", "ours_cpu_ms", "reference_cpu_ms", "ours_rss_mb", "reference_rss_mb"],
];

/** One line per row, after the headings. What was not measured is empty. */
export function csvOf(rows: readonly Row[]): string {
  const lines = rows.map(({ scenario, call, verb, figures }) => {
    const { ours, agent, native, reference, floor } = figures;
    return [
      ...[scenario, call, verb],
      ...spread(ours),
      ...spread(agent),
      number(agent && cpuOf(agent), 1),
      ...spread(native),
      number(native && cpuOf(native), 1),
      ...spread(reference),
      number(floor?.median, 1),
      number(ours && cpuOf(ours), 1),
      number(reference && cpuOf(reference), 1),
      number(ours?.rss, 0),
      number(reference?.rss, 0),
    ];
  });
  return [headings, ...lines].map((cells) => `${cells.map(quoted).join(",")}\n`).join("");
}

function spread(figures: Figures | undefined): string[] {
  return [figures?.median, figures?.lower, figures?.upper].map((value) => number(value, 1));
}

function number(value: number | undefined, digits: number): string {
  return value === undefined ? "" : value.toFixed(digits);
}

function quoted(cell: string): string {
  return cell.includes(",") ? `"${cell}"` : cell;
}

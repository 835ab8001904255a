/** A number that a daemon reports about itself. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  /** One value, or one for each set of labels. Undefined is left out. */
  readonly value: number | undefined | readonly LabelledValue[];
}

export interface LabelledValue {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Prometheus' text format, version 0.0.4. */
export function formatMetrics(metrics: readonly Metric[]): string {
  return metrics
    .flatMap(({ name, help, type, value }) => {
      const lines = linesOf(name, value);
      return lines.length === 0
        ? []
        : [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines];
    })
    .map((line) => `${line}\n`)
    .join("");
}

function linesOf(name: string, value: Metric["value"]): string[] {
  if (value === undefined) return [];
  if (typeof value === "number") return [`${name} ${value}`];
  return value.map((sample) => {
    const labels = Object.entries(sample.labels).map(([key, text]) => `${key}="${escaped(text)}"`);
    return `${name}{${labels.join(",")}} ${sample.value}`;
  });
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

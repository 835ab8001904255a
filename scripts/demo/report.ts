/** Prints a demonstration: headings, steps with their time, and lines below a step. */
import { paint, print } from "../terminal.ts";

/** The error of a step, with the step's title. */
export class StepError extends Error {
  override readonly name = "StepError";
  readonly step: string;

  constructor(step: string, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.step = step;
  }
}

/** Counts steps and prints them as they end. */
export interface Report {
  readonly steps: number;
  readonly heading: (title: string) => void;
  /** Indented lines below a step. */
  readonly lines: (lines: readonly string[]) => void;
  /** Runs a step and prints one line: its title, its value in the words of `describe`, its time. */
  readonly step: <T>(
    title: string,
    action: () => Promise<T>,
    describe?: (value: T) => string,
  ) => Promise<T>;
}

/** A report on stdout, in colour if that is a terminal. */
export function createReport(): Report {
  let steps = 0;
  return {
    get steps() {
      return steps;
    },
    heading(title) {
      print(`\n${paint("bold", title)}`);
    },
    lines(lines) {
      for (const line of lines) print(paint("dim", `      ${line}`));
    },
    async step(title, action, describe = () => "") {
      const start = performance.now();
      try {
        const value = await action();
        const ms = `${(performance.now() - start).toFixed(0)} ms`.padStart(7);
        steps += 1;
        const text = `${title.padEnd(34)} ${describe(value)}`;
        print(`  ${paint("green", "✓")} ${text.padEnd(78)} ${paint("dim", ms)}`);
        return value;
      } catch (error) {
        print(`  ${paint("red", "✗")} ${title}`);
        throw new StepError(title, error);
      }
    },
  };
}

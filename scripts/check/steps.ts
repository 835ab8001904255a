/** Runs commands two at a time, and prints a line for each; for a failed one, all its output. */
import { execa } from "execa";

export interface Step {
  readonly name: string;
  readonly command: readonly string[];
  /** Whether to show its output even if it succeeds. */
  readonly show?: boolean;
}

/** Runs all steps, even after one fails. Returns how many failed. */
export async function runSteps(steps: readonly Step[]): Promise<number> {
  const waiting = [...steps];
  let failed = 0;
  async function work(): Promise<void> {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) {
      if (!(await runStep(step))) failed += 1;
    }
  }
  await Promise.all([work(), work()]);
  return failed;
}

async function runStep({ name, command: [program = "", ...args], show }: Step): Promise<boolean> {
  const started = performance.now();
  const { failed, all } = await execa(program, args, { all: true, reject: false });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${failed ? "FAIL" : "ok  "} ${name.padEnd(12)} ${seconds.padStart(5)} s`);
  if (failed || show === true) console.log(all.replaceAll(/^/gm, "     "));
  return !failed;
}

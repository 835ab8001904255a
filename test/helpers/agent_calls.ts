/** Before and after the tests with agents: these must have made the calls. */
import { globSync, readFileSync, rmSync } from "node:fs";
import type { TestProject } from "vitest/node";
import { callsFolder } from "./agent_way.ts";

let way = "";
let seed = "";

const files = (): readonly string[] => globSync(`${callsFolder}/${way}.*`);

export function setup({ config }: TestProject): void {
  ({ AGENT_WAY: way = "", AGENT_SEED: seed = "" } = config.env);
  for (const file of files()) rmSync(file);
}

/** Throws, which fails the run, if the calls have gone past the agents. */
export function teardown(): void {
  const lines = files().flatMap((file) => readFileSync(file, "utf8").trim().split("\n"));
  if (lines.length === 0) return;
  const calls = lines.reduce((sum, line) => sum + Number.parseInt(line, 10), 0);
  console.log(`${way} agents: ${calls} calls in ${lines.length} sandboxes, AGENT_SEED=${seed}`);
  // A single test may have no call that an agent takes.
  if (calls === 0 && lines.length >= 100) throw new Error("All calls went past the agents.");
}

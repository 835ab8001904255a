/** Runs all checks that need no build, or the named ones: main.ts [lint typecheck ...] */
import { runSteps, type Step } from "./steps.ts";

const node = process.execPath;
const bin = (path: string) => `node_modules/${path}`;

export const checks: readonly Step[] = [
  {
    name: "format",
    command: [node, bin("@biomejs/biome/bin/biome"), "format", "--log-level=warn"],
  },
  { name: "typecheck", command: [node, bin("typescript/bin/tsc"), "--project", "."] },
  { name: "lint", command: [node, bin("oxlint/bin/oxlint")] },
  { name: "layers", command: [node, "scripts/check/layers.ts"] },
  { name: "members", command: [node, "scripts/check/members.ts"] },
  { name: "names", command: [node, "scripts/check/names.ts"] },
  { name: "dead code", command: [node, bin("knip/bin/knip.js"), "--no-progress"] },
];

if (import.meta.main) {
  const names = process.argv.slice(2);
  const failed = await runSteps(
    names.length === 0 ? checks : checks.filter(({ name }) => names.includes(name)),
  );
  process.exitCode = failed > 0 ? 1 : 0;
}

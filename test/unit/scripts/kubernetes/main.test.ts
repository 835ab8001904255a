/** What scripts/kubernetes/main.ts says where it cannot build. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

/** Runs it on a machine that has built nothing, and has that program as its Go. */
function build(go?: string) {
  const folder = mkdtempSync(join(tmpdir(), "kubernetes-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  if (go !== undefined) writeFileSync(join(folder, "go"), `#!/bin/sh\n${go}\n`, { mode: 0o755 });
  const { status, stderr } = spawnSync(process.execPath, ["scripts/kubernetes/main.ts"], {
    env: { PATH: folder, XDG_CACHE_HOME: folder },
    encoding: "utf8",
  });
  return { status, stderr };
}

const advice = "  Install Go 1.26 or later, then run it again.\n";

test.for([
  ["no Go", undefined, "Go is not installed."],
  ["an old Go", "echo go1.25.7", 'Go is too old (got "go1.25.7").'],
  ["a Go of which nobody knows", "exit 1", "Go is not installed."],
] as const)("with %s it says so", ([, go, why]) => {
  expect(build(go)).toEqual({
    status: 1,
    stderr: `Cannot build Kubernetes: ${why}\n${advice}`,
  });
});

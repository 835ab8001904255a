/** Namespaces of a process that this test starts. Needs root. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { statSync, symlinkSync } from "node:fs";
import { describe, expect, onTestFinished, test } from "vitest";

import { namespaceFinder } from "../../../../shared/node/namespaces.ts";
import { Node } from "../../../../shared/node/node.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";
import { temporaryFolder } from "../../temporary_folder.ts";

describe.runIf(process.geteuid?.() === 0)("the namespace at a path", () => {
  test("is a container's network namespace, and nothing else is one", async () => {
    using folder = temporaryFolder();
    const words = ["--net", "--mount", "sh", "-c", "echo; exec sleep 600"];
    const sleeper = spawn("unshare", words, { stdio: ["ignore", "pipe", "ignore"] });
    onTestFinished(() => void sleeper.kill("SIGKILL"));
    const ofProcess = (kind: string): string => `/proc/${String(sleeper.pid)}/ns/${kind}`;
    // It says so when it has its namespaces.
    await once(sleeper.stdout, "data");
    const link = `${folder.path}/link`;
    const loop = `${folder.path}/loop`;
    symlinkSync(ofProcess("net"), link);
    symlinkSync("loop", loop);
    using node = new Node(sys);
    const find = namespaceFinder(node);
    const { ino } = statSync(ofProcess("net"));
    for (const path of [ofProcess("net"), link]) expect(find(path)).toBe(ino);
    const notContainers = [
      ofProcess("mnt"),
      "/proc/self/ns/net",
      "/etc/passwd",
      "/etc",
      "/none",
      "",
      loop,
    ];
    for (const path of notContainers) expect(find(path)).toBeUndefined();
  });
});

/** The plugins under test, and those they are compared with. */
import { execFileSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join, resolve } from "node:path";

/** The folder of the executables under test: CNI_BIN, which the vitest projects set, or dist/bin. */
export function binDir(): string {
  return withPlugin(resolve(process.env["CNI_BIN"] ?? "dist/bin"), "bridge", "run `make` first");
}

/** The folder of the reference plugins: REFERENCE_CNI_BIN, or Debian's. */
export function referenceDir(): string {
  const folder = resolve(process.env["REFERENCE_CNI_BIN"] ?? "/usr/lib/cni");
  return withPlugin(folder, "bridge", "install containernetworking-plugins");
}

/** Whether the reference supports CNI 1.1.0: from version 1.6 on, unlike Debian's 1.1.1. */
export function isReferenceNew(): boolean {
  const env = { CNI_COMMAND: "VERSION" };
  const answer = execFileSync(join(referenceDir(), "bridge"), { env, stdio: ["ignore", "pipe"] });
  return answer.includes('"1.1.0"');
}

function withPlugin(folder: string, plugin: string, advice: string): string {
  try {
    accessSync(join(folder, plugin), constants.X_OK);
    return folder;
  } catch {
    throw new Error(`Cannot test the plugins in ${folder}: there is no ${plugin} (${advice})`);
  }
}

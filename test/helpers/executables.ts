/** The plugins under test, and those they are compared with. */
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

function withPlugin(folder: string, plugin: string, advice: string): string {
  try {
    accessSync(join(folder, plugin), constants.X_OK);
    return folder;
  } catch {
    throw new Error(`Cannot test the plugins in ${folder}: there is no ${plugin} (${advice})`);
  }
}

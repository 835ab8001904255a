/** The plugins under test, and those they are compared with. */
import { execFileSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** The folder of the executables under test: CNI_BIN, which the vitest projects set, or dist/bin. */
export function binDir(): string {
  return withPlugins(resolve(process.env["CNI_BIN"] ?? "dist/bin"), ["bridge"], "run `make` first");
}

/** Those of the reference plugins that tests call. */
const referencePlugins = [
  ...["bridge", "dhcp", "host-local", "ipvlan", "loopback", "macvlan", "portmap", "ptp", "static"],
  "tuning",
];

/** The folder of the reference plugins: REFERENCE_CNI_BIN, or Debian's. */
export function referenceDir(): string {
  const folder = resolve(process.env["REFERENCE_CNI_BIN"] ?? "/usr/lib/cni");
  const advice = "install containernetworking-plugins, or see docs/upstream-suites.md";
  return withPlugins(folder, referencePlugins, advice);
}

/**
 * Whether the reference is of version 1.6 or later, unlike Debian's 1.1.1. Its builds need not know their version, and
 * Ubuntu's 1.1.1 says that it speaks CNI 1.1.0. But portmap knows nftables since 1.6.
 */
export function isReferenceNew(): boolean {
  return readFileSync(join(referenceDir(), "portmap")).includes("hostip_hostports");
}

/** Whether the reference speaks CNI 1.1.0, of which its results have more: new ones do, and old ones built with a new library. */
export function speaksLatest(): boolean {
  const env = { CNI_COMMAND: "VERSION" };
  const answer = execFileSync(join(referenceDir(), "bridge"), { env, stdio: ["ignore", "pipe"] });
  return answer.includes('"1.1.0"');
}

function withPlugins(folder: string, plugins: readonly string[], advice: string): string {
  const missing = plugins.filter((plugin) => !isExecutable(join(folder, plugin)));
  if (missing.length === 0) return folder;
  const names = missing.join(", ");
  throw new Error(`Cannot test the plugins in ${folder}: there is no ${names} (${advice})`);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * An executable out of a script and Node, by @yao-pkg/pkg's simple SEA mode (its other modes
 * take twice as long to start). Its command line has no way to pass `seaConfig`, so this calls what
 * the command line calls. In a process of its own (pkg.ts SCRIPT PRODUCT), because pkg talks.
 */
import { globSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import pkg from "@yao-pkg/pkg/lib-es5/sea.js";

const [script = "", product = ""] = process.argv.slice(2).map((path) => resolve(path));

// pkg works in a temporary folder. Next to the script, so that the one path which ends up in the
// executable, that of the script as seen from there, is the same on every machine.
process.env["TMPDIR"] = dirname(script);
const seaConfig = {
  main: `../${basename(script)}`,
  disableExperimentalSEAWarning: true,
  useSnapshot: false,
  // A code cache would save 3 ms of 55, but is different in every build: Node draws a seed for it.
  useCodeCache: false,
  // Otherwise NODE_OPTIONS in the caller's environment runs code as root.
  execArgvExtension: "none",
  assets: { "koffi.node": koffi() },
};
await pkg.default(script, {
  targets: [{ nodeRange: "node24", platform: "linux", arch: process.arch, output: product }],
  // The Node that the tools run on is the one that goes into the product.
  nodePath: process.execPath,
  seaConfig,
  signature: false,
});

/** koffi's native part for this processor: npm installs no other. */
function koffi(): string {
  const [path] = globSync(`node_modules/@koromix/koffi-linux-${process.arch}/linux_*/koffi.node`);
  if (path === undefined) throw new Error(`koffi has no build for ${process.arch}`);
  return resolve(path);
}

/**
 * Makes an executable of a script and Node, with @yao-pkg/pkg's simple SEA mode (its other modes take
 * twice as long to start). pkg's command line cannot pass `seaConfig`, so this calls the function
 * behind it, in a process of its own (pkg.ts SCRIPT PRODUCT), because pkg prints to the console.
 */
import { globSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import pkg from "@yao-pkg/pkg/lib-es5/sea.js";
import { secondBundles } from "./bundle.ts";

const [script = "", product = ""] = process.argv.slice(2).map((path) => resolve(path));

// The script's path as seen from pkg's temporary folder ends up in the executable. With that folder
// beside the script, the path is the same on every machine.
process.env["TMPDIR"] = dirname(script);
const seaConfig = {
  main: `../${basename(script)}`,
  disableExperimentalSEAWarning: true,
  useSnapshot: false,
  // A code cache would save 3 ms of 55, but it differs in every build.
  useCodeCache: false,
  // Otherwise NODE_OPTIONS in the caller's environment could run code as root.
  execArgvExtension: "none",
  assets: {
    "koffi.node": koffi(),
    ...Object.fromEntries(secondBundles.map((file) => [file, join(dirname(script), file)])),
  },
};
await pkg.default(script, {
  targets: [{ nodeRange: "node24", platform: "linux", arch: process.arch, output: product }],
  // The Node that runs the tools goes into the product.
  nodePath: process.execPath,
  seaConfig,
  signature: false,
});

/** koffi's native part. npm installs only the one for this processor. */
function koffi(): string {
  const [path] = globSync(`node_modules/@koromix/koffi-linux-${process.arch}/linux_*/koffi.node`);
  if (path === undefined) throw new Error(`koffi has no build for ${process.arch}`);
  return resolve(path);
}

/**
 * Builds one executable with all plugins in it, and a hard link to it under each plugin's and
 * tool's name.
 *
 *   build.ts bin    dist/bin, with Bun's compiler; with pkg where Bun has no build for this
 *                   processor
 *   build.ts pkg    dist/pkg, with Node and @yao-pkg/pkg
 */
import {
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { execa } from "execa";
import { contentOf } from "../../tools/install-cni/atomic_file.ts";
import { bun, bunArguments } from "./bun.ts";
import { bundle } from "./bundle.ts";

const links = [
  ...["bridge", "host-local", "loopback", "portmap", "cnitool", "install-cni"],
  ...["flanneld", "mk-docker-opts.sh"],
];

const { positionals, values } = parseArgs({
  allowPositionals: true,
  // Another entry than the product's: to measure what an import costs.
  options: { entry: { type: "string" }, out: { type: "string" } },
});

try {
  await main(positionals[0] ?? "bin");
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main(target: string): Promise<void> {
  const started = performance.now();
  const compiler = target === "bin" ? bun : undefined;
  if (target === "bin" && compiler === undefined) {
    console.log(`Bun has no build for ${process.arch}: dist/bin gets the Node build instead.`);
  }
  const runtime = compiler === undefined ? "node" : "bun";
  const folder = values.out ?? join("dist", target);
  const work = join("dist", ".work", target);
  const script = join(work, "flannel.cjs");
  const compiled = join(work, "flannel");
  const product = join(folder, "flannel");

  mkdirSync(work, { recursive: true });
  mkdirSync(folder, { recursive: true });
  rmSync(compiled, { force: true });
  await bundle(values.entry ?? `plugins/main_${runtime}.ts`, script, runtime);
  await (compiler === undefined
    ? execa(process.execPath, ["scripts/build/pkg.ts", script, compiled])
    : execa(compiler, [...bunArguments, script, `--outfile=${compiled}`]));

  // A plugin may be running just now: its file stays as it is, and the new one takes its name.
  renameSync(rewrite(compiled), product);
  for (const link of links) {
    rmSync(join(folder, link), { force: true });
    linkSync(product, join(folder, link));
  }
  const size = (statSync(product).size / 1e6).toFixed(0);
  const code = (statSync(script).size / 1e3).toFixed(0);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${product}: ${size} MB with ${runtime}, ${code} kB of it code, in ${seconds} s`);
}

/** Copies an executable as install-cni does: how it was written is how it lies in the page cache. */
function rewrite(compiled: string): string {
  const copy = `${compiled}.copy`;
  const file = openSync(copy, "w");
  contentOf(compiled).read((part) => {
    for (let at = 0; at < part.length; ) at += writeSync(file, part, at);
  });
  closeSync(file);
  chmodSync(copy, 0o755);
  rmSync(compiled);
  return copy;
}

/**
 * Builds one executable with all plugins and tools, and a hard link to it for each of their names. Beside it,
 * in dist/client, is the form that asks the agent by a small executable: see {@link linkClients}.
 *
 *   main.ts bin    dist/bin, with Bun's compiler; with pkg if Bun does not support this processor
 *   main.ts pkg    dist/pkg, with Node and @yao-pkg/pkg
 */
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { execa } from "execa";
import { fileNames, pluginNames } from "../../plugins/builtins.ts";
import { contentOf } from "../../shared/files/content.ts";
import { writeNew } from "../../shared/files/files.ts";
import { fullExecutable } from "../../shared/files/paths.ts";
import { bun, bunArguments } from "./bun.ts";
import { takesBeginning } from "./elf.ts";
import { beginWithClient, buildNativeClient } from "./native_client.ts";
import type { NativeClient } from "./native_client.ts";
import { bundle, secondBundles, threadBundles } from "./bundle.ts";
import type { Runtime } from "./bundle.ts";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  // Another entry, to measure what an import costs.
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
  const threadScripts = threadBundles.map((file) => join(work, file));
  const [first = "", ...links] = fileNames();
  const product = join(folder, first);

  mkdirSync(work, { recursive: true });
  mkdirSync(folder, { recursive: true });
  rmSync(compiled, { force: true });
  // Not for what is built to measure or to test.
  const isProduct = values.out === undefined && values.entry === undefined;
  const client = isProduct ? await buildNativeClient(join("dist", ".work", "client")) : undefined;
  // Node's executable has its script, and its program headers, when it is made.
  const isBeginning = runtime === "node" || takesBeginning(readFileSync(bun ?? ""));
  const beginning = isBeginning ? client : undefined;
  const entry = values.entry ?? entryOf(runtime, beginning);
  await bundle(entry, script, runtime, embedded(client));
  await (compiler === undefined
    ? execa(process.execPath, ["scripts/build/pkg.ts", script, compiled])
    : execa(compiler, [...bunArguments, script, ...threadScripts, `--outfile=${compiled}`]));
  if (beginning !== undefined && takesBeginning(readFileSync(compiled))) {
    await beginWithClient(compiled, beginning, pluginNames);
  }

  // A running plugin keeps the old file; the new one takes its name.
  renameSync(rewrite(compiled), product);
  for (const name of links) link(product, join(folder, name));
  if (isProduct) linkClients(client, product, target);
  const size = (statSync(product).size / 1e6).toFixed(0);
  const scripts = [script, ...secondBundles.map((file) => join(work, file))];
  const bytes = scripts.reduce((sum, file) => sum + statSync(file).size, 0);
  const code = (bytes / 1e3).toFixed(0);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${product}: ${size} MB with ${runtime}, ${code} kB of it code, in ${seconds} s`);
}

/**
 * Fills a folder as install-cni fills that of the plugins on a node, with the tools too: the plugins' names are
 * the native client's, and what it executes is beside it.
 */
function linkClients(client: NativeClient | undefined, product: string, target: string): void {
  const folder = join("dist", "client", target);
  rmSync(folder, { recursive: true, force: true });
  if (client === undefined) return;
  mkdirSync(folder, { recursive: true });
  const names: readonly string[] = pluginNames;
  for (const name of names) link(client.file, join(folder, name));
  for (const name of [fullExecutable, ...fileNames()]) {
    if (!names.includes(name)) link(product, join(folder, name));
  }
}

/** Where the native client has asked the agent already, nothing else does. */
function entryOf(runtime: Runtime, beginning: NativeClient | undefined): string {
  if (runtime === "node") return "plugins/main_node.ts";
  return beginning === undefined ? "plugins/main_bun.ts" : "plugins/main_after_client_bun.ts";
}

/** The client as install-cni has it. */
function embedded(client: NativeClient | undefined): string {
  return client === undefined
    ? ""
    : gzipSync(readFileSync(client.file), { level: 9 }).toString("base64");
}

function link(from: string, to: string): void {
  rmSync(to, { force: true });
  linkSync(from, to);
}

/** Copies an executable as install-cni does: how it was written is how it lies in the page cache. */
function rewrite(compiled: string): string {
  const copy = `${compiled}.copy`;
  writeNew(copy, contentOf(compiled), 0o755);
  chmodSync(copy, 0o755);
  rmSync(compiled);
  return copy;
}

/** Bundles the sources and their packages into one file, without unused code. */
import { readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { build, formatMessages, type BuildOptions, type BuildResult, type Plugin } from "esbuild";
import { readBuildId } from "./build_id.ts";
import { toEsModule } from "./es_module.ts";

/** Lets the bundler drop those of netlink's several hundred codecs that nothing uses. */
const netlinkCodecs: Plugin = {
  name: "netlink-codecs",
  setup(builder) {
    builder.onLoad({ filter: /[\\/]netlink[\\/]dist[\\/](rt[\\/])?\w+\.js$/ }, ({ path }) => ({
      contents: toEsModule(readFileSync(path, "utf8"), path),
    }));
    builder.onResolve({ filter: /^os$/ }, () => ({
      path: join(import.meta.dirname, "byte_order.ts"),
    }));
  },
};

/** Replaced modules: `node:fs`, which is slow to load in Bun; koffi's loader, which looks for a file. */
const aliases = {
  bun: { "node:fs": resolve("shared/runtime/fs_bun.ts") },
  node: { koffi: join(import.meta.dirname, "embedded_koffi.ts") },
};

/**
 * The second bundles: what plugins/main.ts imports when the executable is called as a tool or a daemon.
 * If they were part of the plugins' bundle, esbuild would wrap each module that both sides import in a
 * function, which makes every start a millisecond longer (docs/decisions/0009-tools-apart.md).
 */
const secondEntries: Readonly<Record<string, string>> = {
  "main_tools.cjs": "plugins/main_tools.ts",
  "main_daemons.cjs": "plugins/main_daemons.ts",
  "main_agent.cjs": "plugins/main_agent.ts",
};

/** The scripts of threads, which Bun's compiler takes in as further entries. */
const threadEntries: Readonly<Record<string, string>> = {
  "agent_worker.cjs": "plugins/agent_worker_bun.ts",
  "udp_forwarder.cjs": "plugins/udp_forwarder_bun.ts",
};

/** The files beside the plugins' bundle that threads start with. */
export const threadBundles: readonly string[] = Object.keys(threadEntries);

/** The files beside the plugins' bundle. */
export const secondBundles: readonly string[] = Object.keys(secondEntries);

function secondBundlesApart(runtime: Runtime): Plugin {
  return {
    name: "second-bundles",
    setup(builder) {
      builder.onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) => {
        if (kind !== "dynamic-import") return null;
        const target = resolve(resolveDir, path);
        const file = secondBundles.find((name) => resolve(secondEntries[name] ?? "") === target);
        if (file === undefined) {
          throw new Error(`${path} is imported dynamically: add it to secondEntries`);
        }
        // Bun's compiler takes it in as a module of its own, bytecode and all.
        if (runtime === "bun") return { path: `./${file}`, external: true };
        return { path: file, namespace: "embedded" };
      });
      builder.onLoad({ filter: /./, namespace: "embedded" }, ({ path }) => ({
        contents: `module.exports = require("./embedded_bundle.ts").load(${JSON.stringify(path)});`,
        resolveDir: import.meta.dirname,
      }));
    },
  };
}

/**
 * What plugins/main_bun.ts calls when no agent has carried out the call. With bytecode, a function that
 * is not called costs nothing, so the build makes one of it and of all that it imports.
 */
const fallbackEntry = "plugins/fallback_bun.ts";

/** Calls the function that {@link withFallback} appends. */
const fallbackApart: Plugin = {
  name: "fallback-apart",
  setup(builder) {
    builder.onResolve({ filter: /[\\/]fallback_bun\.ts$/ }, ({ kind, path }) =>
      kind === "entry-point" ? null : { path, namespace: "fallback" },
    );
    builder.onLoad({ filter: /./, namespace: "fallback" }, () => ({
      contents: "export const start = (remainder) => fallback().start(remainder);",
    }));
  },
};

/** The script of a client and of the CommonJS module that it falls back on. */
function withFallback(client: string, module: string): string {
  const body = `const module = { exports: {} }; ${module}\nreturn module.exports;`;
  return `${client}\nfunction fallback() { ${body} }\n`;
}

export type Runtime = keyof typeof aliases;

/**
 * Writes the plugins' bundle, and the second bundles beside it.
 * @param nativeClient what install-cni installs, as tools/install-cni/native_client.ts wants it.
 */
export async function bundle(
  entry: string,
  outfile: string,
  runtime: Runtime,
  nativeClient = "",
): Promise<void> {
  const hasClient = resolve(entry) === resolve("plugins/main_bun.ts");
  const options = optionsOf(hasClient ? fallbackEntry : entry, outfile, runtime);
  // Tools and daemons use more of node:fs than the replacement has, and may take longer to start.
  const { "node:fs": _, ...alias } = options.alias ?? {};
  const second = Object.entries(secondEntries).map(([file, source]) => ({
    ...options,
    entryPoints: [source],
    outfile: join(dirname(outfile), file),
    alias,
    define: { ...options.define, FLANNEL_CNI_NATIVE_CLIENT: JSON.stringify(nativeClient) },
    plugins: [netlinkCodecs],
  }));
  const threads = Object.entries(runtime === "bun" ? threadEntries : {}).map(([file, source]) => ({
    ...options,
    entryPoints: [source],
    outfile: join(dirname(outfile), file),
    plugins: [netlinkCodecs],
  }));
  await Promise.all([options, ...second, ...threads].map(buildQuietly));
  if (!hasClient) return;
  const client = { ...optionsOf(entry, outfile, runtime), format: "iife" as const, write: false };
  const plugins = [fallbackApart, ...(client.plugins ?? [])];
  const { outputFiles = [] } = await buildQuietly({ ...client, plugins });
  const script = withFallback(outputFiles[0]?.text ?? "", readFileSync(outfile, "utf8"));
  writeFileSync(outfile, script);
}

/** What the engine has in the place of modules that use libc or the runtime. */
const modulesOfEngine: Readonly<Record<string, string>> = {
  "libc_bun.ts": "libc_quickjs.ts",
  "sleep.ts": "sleep_quickjs.ts",
};

const engineModules: Plugin = {
  name: "engine-modules",
  setup(builder) {
    builder.onResolve({ filter: /[\\/](libc_bun|sleep)\.ts$/ }, ({ path }) => ({
      path: resolve("shared/runtime", modulesOfEngine[basename(path)] ?? ""),
    }));
  },
};

/** The plugins' script for the engine in the executable's beginning (scripts/build/engine.ts). */
export async function bundleForEngine(entry: string): Promise<string> {
  const { plugins = [], ...options } = optionsOf(entry, "plugins.js", "bun");
  const { outputFiles = [] } = await buildQuietly({
    ...options,
    format: "iife",
    target: "es2023",
    define: { ...options.define, "process.arch": JSON.stringify(process.arch) },
    write: false,
    plugins: [engineModules, ...plugins],
  });
  return outputFiles[0]?.text ?? "";
}

/** @throws Error for a warning, too. */
async function buildQuietly(options: BuildOptions): Promise<BuildResult> {
  const result = await build(options);
  if (result.warnings.length === 0) return result;
  throw new Error((await formatMessages(result.warnings, { kind: "warning" })).join("\n"));
}

/** esbuild's options for the plugins' file. */
export function optionsOf(entry: string, outfile: string, runtime: Runtime): BuildOptions {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  return {
    entryPoints: [entry],
    outfile,
    bundle: true,
    minify: true,
    format: "cjs",
    platform: "node",
    target: "es2024",
    external: ["bun", "bun:*"],
    define: {
      FLANNEL_CNI_VERSION: JSON.stringify(version),
      FLANNEL_CNI_BUILD_ID: JSON.stringify(readBuildId()),
    },
    alias: aliases[runtime],
    plugins: [netlinkCodecs, secondBundlesApart(runtime)],
    legalComments: "none",
    logLevel: "silent",
  };
}

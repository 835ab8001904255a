/** Bundles the sources and their packages into one file, without unused code. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { build, formatMessages, type BuildOptions, type Plugin } from "esbuild";
import { toModule } from "./netlink.ts";

/** Lets the bundler drop those of netlink's several hundred codecs that nothing uses. */
const netlinkCodecs: Plugin = {
  name: "netlink-codecs",
  setup(builder) {
    builder.onLoad({ filter: /[\\/]netlink[\\/]dist[\\/](rt[\\/])?\w+\.js$/ }, ({ path }) => ({
      contents: toModule(readFileSync(path, "utf8"), path),
    }));
  },
};

/** Replaced modules: `node:fs`, which is slow to load in Bun; koffi's loader, which looks for a file. */
const aliases = {
  bun: { "node:fs": resolve("shared/runtime/fs_bun.ts") },
  node: { koffi: join(import.meta.dirname, "embedded_koffi.ts") },
};

/**
 * Bundles dynamic imports apart, as strings that are compiled on demand. Otherwise esbuild would wrap
 * each module that both sides import in a function, which makes every start a millisecond longer
 * (docs/decisions/0009-tools-apart.md).
 */
const apart: Plugin = {
  name: "apart",
  setup(builder) {
    builder.onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) =>
      kind === "dynamic-import" ? { path: resolve(resolveDir, path), namespace: "apart" } : null,
    );
    builder.onLoad({ filter: /./, namespace: "apart" }, async ({ path }) => {
      const { entryPoints: _, plugins = [], alias = {}, ...options } = builder.initialOptions;
      const { outputFiles } = await build({
        ...options,
        // The tools use more of node:fs than the replacement has, and may take longer to start.
        alias: Object.fromEntries(Object.entries(alias).filter(([name]) => name !== "node:fs")),
        entryPoints: [path],
        plugins: plugins.filter(({ name }) => name !== "apart"),
        write: false,
      });
      const text = JSON.stringify(outputFiles[0]?.text ?? "");
      return {
        contents: `new Function("module", "exports", "require", ${text})(module, exports, require);`,
      };
    });
  },
};

export type Runtime = keyof typeof aliases;

export async function bundle(entry: string, outfile: string, runtime: Runtime): Promise<void> {
  const { warnings } = await build(optionsOf(entry, outfile, runtime));
  if (warnings.length > 0) {
    throw new Error((await formatMessages(warnings, { kind: "warning" })).join("\n"));
  }
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
    define: { FLANNEL_CNI_VERSION: JSON.stringify(version) },
    alias: aliases[runtime],
    plugins: [netlinkCodecs, apart],
    legalComments: "none",
    logLevel: "silent",
  };
}

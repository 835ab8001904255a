/** One file out of the sources and the packages they use, with what nothing uses left out. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { build, formatMessages, type BuildOptions, type Plugin } from "esbuild";
import { toModule } from "./netlink.ts";

/** Lets the bundler see which of netlink's several hundred codecs are used. */
const netlinkCodecs: Plugin = {
  name: "netlink-codecs",
  setup(builder) {
    builder.onLoad({ filter: /[\\/]netlink[\\/]dist[\\/](rt[\\/])?\w+\.js$/ }, ({ path }) => ({
      contents: toModule(readFileSync(path, "utf8"), path),
    }));
  },
};

/** What takes the place of a module: files by libc, for Bun's own are slow to load; native code in the executable. */
const aliases = {
  bun: { "node:fs": resolve("shared/runtime/fs_bun.ts") },
  node: { koffi: join(import.meta.dirname, "embedded_koffi.ts") },
};

/**
 * Bundles what is imported dynamically apart, as a text that is compiled when it is asked for.
 * Otherwise esbuild would wrap each module that both need in a function of its own, which makes
 * every start a millisecond longer (docs/decisions/0009-tools-apart.md).
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
        // These use more of it than the plugins do, and may take their time.
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

/** How the bundler is to make the plugins' one file. */
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

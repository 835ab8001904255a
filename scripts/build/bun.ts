/** Where Bun's compiler is, and how it is to compile. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";

const processors: Readonly<Record<string, string>> = { x64: "x64", arm64: "aarch64" };
const path = resolve(`node_modules/@oven/bun-linux-${processors[process.arch]}/bin/bun`);

/** The compiler that npm has installed, or undefined where there is none for this processor. */
export const bun = existsSync(path) ? path : undefined;

export const bunArguments: readonly string[] = [
  "build",
  ...["--compile", "--bytecode", "--minify", "--format=cjs"],
  // Otherwise the executable reads .env and bunfig.toml in the folder that it is started in, and
  // what a bunfig.toml preloads runs as root.
  ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
  // A plugin lives for milliseconds: only the hottest loops are worth compiling.
  "--compile-jit-policy=200",
];

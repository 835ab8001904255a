/** Bun's compiler and its arguments. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";

const processors: Readonly<Record<string, string>> = { x64: "x64", arm64: "aarch64" };
const path = resolve(`node_modules/@oven/bun-linux-${processors[process.arch]}/bin/bun`);

/** The compiler that npm installed, or undefined if Bun does not support this processor. */
export const bun = existsSync(path) ? path : undefined;

export const bunArguments: readonly string[] = [
  "build",
  ...["--compile", "--bytecode", "--minify", "--format=cjs"],
  // Otherwise the executable reads .env and bunfig.toml in its current folder, and runs as root what
  // a bunfig.toml preloads.
  ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
  // A plugin lives for milliseconds, so only the hottest loops are worth compiling.
  "--compile-jit-policy=200",
];

/** Bun, and its arguments as a compiler. */
import { existsSync } from "node:fs";
import { join } from "node:path";

const processors: Readonly<Record<string, string>> = { x64: "x64", arm64: "aarch64" };
const name = `bun-linux-${processors[process.arch]}`;
const path = join(import.meta.dirname, "../../node_modules/@oven", name, "bin/bun");

/** Bun as npm installed it, or undefined if Bun does not support this processor. */
export const bun = existsSync(path) ? path : undefined;

export const bunArguments: readonly string[] = [
  "build",
  ...["--compile", "--bytecode", "--minify", "--format=cjs"],
  // Otherwise the executable reads .env and bunfig.toml in its current folder, and runs as root what
  // a bunfig.toml preloads.
  ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
  // A plugin lives for milliseconds, so only the hottest loops are worth compiling; a tool for seconds.
  "--compile-jit-policy=50",
];

/**
 * Loads a second bundle from the executable that pkg makes, where a script has no file to import: the
 * bundle is an asset, and is compiled as Node compiles a CommonJS module.
 */
import { createRequire } from "node:module";
import { getAsset } from "node:sea";
import { compileFunction } from "node:vm";

/** @returns what the bundle exports. */
export function load(file: string): object {
  const module: { exports: object } = { exports: {} };
  const parameters = ["exports", "require", "module"];
  const run = compileFunction(getAsset(file, "utf8"), parameters, { filename: file });
  run.call(module.exports, module.exports, createRequire(process.execPath), module);
  return module.exports;
}

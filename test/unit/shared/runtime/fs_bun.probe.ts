/**
 * Calls a module's functions as the plugins call node:fs's, and prints the results. fs_bun.test.ts runs
 * it, with the arguments MODULE FOLDER.
 */
import type * as nodeFs from "node:fs";
import { fsOutcomes } from "./fs_outcomes.ts";

const [module = "", folder = ""] = process.argv.slice(2);
const fs = (await import(module)) as typeof nodeFs;
console.log(JSON.stringify(fsOutcomes(fs, folder), undefined, 1));

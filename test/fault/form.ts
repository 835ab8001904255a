/** How much of the faults is tried: a part in `make test`, all of them in `make soak`. */
import { resolve } from "node:path";
import { binDir } from "../helpers/cni.ts";

/** Whether this is the long form. */
export const soak = process.env["SOAK"] === "1";

/** The build that most runs on nodes; the other one makes the same system calls. */
export const isBun = binDir() === resolve("dist/bin");

/** One fault in so many is tried: all in the long form, or what FAULT_STEP says. */
export function stepOf(bun: number, other: number): number {
  return Number(process.env["FAULT_STEP"] ?? (soak ? 1 : isBun ? bun : other));
}

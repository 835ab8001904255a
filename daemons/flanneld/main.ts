import type { Sys } from "../../shared/runtime/sys.ts";
import { readOptions, usage, UsageError } from "./options.ts";
import type { Request } from "./options.ts";

/** Set at build time from package.json. */
declare const FLANNEL_CNI_VERSION: string;

const badUsage = 2;

/**
 * flanneld: gives the node its subnet, and joins it to the other nodes.
 * @returns the exit status.
 */
export async function flanneld(sys: Sys, args: readonly string[]): Promise<number> {
  let request: Request;
  try {
    request = readOptions(args, sys.env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    sys.write(2, `${error.message}.\n`);
    return badUsage;
  }
  if (request.action === "help") sys.write(1, usage);
  if (request.action === "version") sys.write(2, `${FLANNEL_CNI_VERSION}\n`);
  return 0;
}

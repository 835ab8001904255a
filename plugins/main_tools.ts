import type { Sys } from "../shared/runtime/sys.ts";
import { cnitool } from "../tools/cnitool/main.ts";
import { builtins } from "./builtins.ts";
import { copy, installCni } from "../tools/install-cni/main.ts";

/**
 * What the executable is besides the plugins. This is bundled apart from them, so it has a copy of
 * all it needs, and nothing of main.ts but the runtime is handed over.
 * @returns the exit status.
 */
export async function runTool(name: string, args: readonly string[], sys: Sys): Promise<number> {
  if (name === "cnitool") return cnitool(args, sys, builtins);
  if (name === "cp") return copy(sys, args);
  if (name === "install-cni")
    return installCni(
      sys,
      args,
      builtins.map((plugin) => plugin.name),
    );
  throw new Error(`there is no tool ${name}`);
}

import type { LastingSys } from "../shared/runtime/sys.ts";
import { cnitool } from "../tools/cnitool/main.ts";
import { copy, installCni } from "../tools/install-cni/main.ts";
import { builtins, pluginNames } from "./builtins.ts";
import type { ToolName } from "./builtins.ts";

/** Carries out a call of a tool. @returns the exit status. */
type Tool = (sys: LastingSys, args: readonly string[]) => Promise<number> | number;

/**
 * The tools. They are bundled apart from the plugins, with a copy of all they need: nothing but the
 * runtime is handed over from main.ts.
 */
export const tools: Readonly<Record<ToolName, Tool>> = {
  cnitool: async (sys, args) => cnitool(args, sys, builtins),
  "install-cni": (sys, args) => installCni(sys, args, pluginNames),
  cp: copy,
};

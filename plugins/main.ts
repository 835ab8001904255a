import { dispatch } from "../shared/cni/skel.ts";
import type { Sys } from "../shared/runtime/sys.ts";
import { builtins } from "./builtins.ts";

/** What the executable is besides the plugins, by its name or by its first argument. */
const tools: ReadonlySet<string> = new Set(["cnitool", "install-cni", "cp"]);

/** The executable: every plugin and tool it holds, of which it becomes the one it was called as. */
export async function main(sys: Sys): Promise<never> {
  const [name = "", ...args] = called(sys.argv0, sys.args);
  if (tools.has(name)) {
    const { runTool } = await import("./main_tools.ts");
    return sys.exit(await runTool(name, args, sys));
  }
  return sys.exit(await dispatch(sys, builtins));
}

function called(argv0: string, args: readonly string[]): readonly string[] {
  const name = argv0.slice(argv0.lastIndexOf("/") + 1);
  // A runtime gives a plugin no arguments; an image may hold one file.
  return tools.has(args[0] ?? "") && !tools.has(name) ? args : [name, ...args];
}

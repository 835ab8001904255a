import { run } from "../shared/cni/skel.ts";
import type { Sys } from "../shared/runtime/sys.ts";
import { builtins } from "./builtins.ts";

/** What the executable is besides the plugins, by its name or by its first argument. */
const tools: ReadonlySet<string> = new Set(["cnitool", "install-cni", "cp"]);
const daemons: ReadonlySet<string> = new Set(["flanneld", "mk-docker-opts.sh"]);

/** The executable: every plugin and tool it holds, of which it becomes the one it was called as. */
export async function main(sys: Sys): Promise<never> {
  const [name = "", ...args] = called(sys.argv0, sys.args);
  if (tools.has(name)) {
    const { runTool } = await import("./main_tools.ts");
    return sys.exit(await runTool(name, args, sys));
  }
  if (daemons.has(name)) {
    const { runDaemon } = await import("./main_daemons.ts");
    return sys.exit(await runDaemon(name, args, sys));
  }
  return sys.exit(await run(sys, builtins));
}

function called(argv0: string, args: readonly string[]): readonly string[] {
  const name = argv0.slice(argv0.lastIndexOf("/") + 1);
  // A runtime gives a plugin no arguments; an image may hold one file.
  return isOther(args[0] ?? "") && !isOther(name) ? args : [name, ...args];
}

function isOther(name: string): boolean {
  return tools.has(name) || daemons.has(name);
}

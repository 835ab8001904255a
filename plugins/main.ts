import { seal } from "../shared/cni/call.ts";
import { run } from "../shared/cni/run.ts";
import { Kernel } from "../shared/kernel/mod.ts";
import type { Sys } from "../shared/kernel/sys.ts";
import { bridge } from "./bridge/plugin.ts";
import { flannel } from "./flannel/plugin.ts";
import { hostLocal } from "./host-local/plugin.ts";
import { loopback } from "./loopback/plugin.ts";
import { portmap } from "./portmap/plugin.ts";

/** What the executable is besides the plugins, by its name or by its first argument. */
const tools: ReadonlySet<string> = new Set(["cnitool", "install-cni", "cp"]);

/** The executable: every plugin and tool it holds, of which it becomes the one it was called as. */
export async function main(sys: Sys): Promise<never> {
  const plugins = [seal(flannel), seal(bridge), seal(hostLocal), seal(loopback), seal(portmap)];
  const [name = "", ...args] = called(sys.argv0, sys.args);
  if (tools.has(name)) {
    const { runTool } = await import("./tools.ts");
    return sys.exit(await runTool(name, args, sys));
  }
  return run(new Kernel(sys), plugins);
}

function called(argv0: string, args: readonly string[]): readonly string[] {
  const name = argv0.slice(argv0.lastIndexOf("/") + 1);
  // A runtime gives a plugin no arguments; an image may hold one file.
  return tools.has(args[0] ?? "") && !tools.has(name) ? args : [name, ...args];
}

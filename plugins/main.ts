import { baseName } from "../shared/base/text.ts";
import { dispatchAfter } from "../shared/agent/aftermath.ts";
import type { DispatchOptions } from "../shared/cni/skel.ts";
import type { LastingSys } from "../shared/runtime/sys.ts";
import { builtins, daemonNames, toolNames } from "./builtins.ts";
import type { DaemonName, ToolName } from "./builtins.ts";

/** The executable. It runs the program that it was called as. */
export async function main(sys: LastingSys, options: DispatchOptions = {}): Promise<never> {
  const name = baseName(sys.argv0);
  const [first = "", ...rest] = sys.args;
  if (isTool(name)) return runTool(name, sys.args, sys);
  if (isDaemon(name)) return runDaemon(name, sys.args, sys);
  // A runtime gives a plugin no arguments; an image may hold one file.
  if (isTool(first)) return runTool(first, rest, sys);
  if (isDaemon(first)) return runDaemon(first, rest, sys);
  if (first === "agent") return runAgent(rest, sys);
  return sys.exit(await dispatchAfter(first, sys, builtins, options));
}

function isTool(name: string): name is ToolName {
  return toolNames.some((tool) => tool === name);
}

function isDaemon(name: string): name is DaemonName {
  return daemonNames.some((daemon) => daemon === name);
}

/** Loads the tools, which plugins must not wait for. */
async function runTool(name: ToolName, args: readonly string[], sys: LastingSys): Promise<never> {
  const { tools } = await import("./main_tools.ts");
  return sys.exit(await tools[name](sys, args));
}

/** Loads the agent's main thread, which needs none of the others. */
async function runAgent(args: readonly string[], sys: LastingSys): Promise<never> {
  const { agent } = await import("./main_agent.ts");
  return sys.exit(await agent(sys, args));
}

/** Loads the daemons, which plugins must not wait for. */
async function runDaemon(
  name: DaemonName,
  args: readonly string[],
  sys: LastingSys,
): Promise<never> {
  sys.limitReadahead();
  const { daemons } = await import("./main_daemons.ts");
  return sys.exit(await daemons[name](sys, args));
}

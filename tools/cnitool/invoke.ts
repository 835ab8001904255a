import { invokePlugin, checkType } from "../../shared/cni/invoke.ts";
import { CniError, Code } from "../../shared/cni/error.ts";
import type { Invoke, PluginCall } from "../../shared/libcni/runtime.ts";
import { findExecutable } from "../../shared/files/files.ts";
import type { Tool } from "./command.ts";
import { pluginPath } from "./settings.ts";
import { quoted } from "./shell.ts";
import { binFolder } from "../../shared/files/paths.ts";

/** The plugin's executable. @throws CniError Delegate if there is none. */
export function findPlugin(tool: Tool, type: string): string {
  checkType(type);
  const folders = pluginPath(tool);
  const path = findExecutable(type, folders);
  if (path !== undefined) return path;
  const builtins = tool.builtins.has(type);
  throw new CniError(
    Code.Delegate,
    `Cannot find the plugin ${type}: there is no executable of that name in ${folders.join(":")}.`,
    builtins
      ? `This executable holds it: ln ${tool.node.sys.argv0} ${folders[0] ?? binFolder}/${type}. Or set CNI_PATH to the folder that has it.`
      : "Install it there, or set CNI_PATH to the folder that has it.",
  );
}

/** Executes plugins as a runtime does, and passes their stderr on. */
export function executor(tool: Tool): Invoke {
  const { sys } = tool.node;
  return ({ verb, type, env, conf }) => {
    const path = findPlugin(tool, type);
    const { result, stderr } = invokePlugin(sys, {
      type,
      path,
      verb,
      conf,
      env: { ...sys.env, ...env, CNI_PATH: pluginPath(tool).join(":") },
    });
    for (const line of stderr.split("\n")) if (line.trim() !== "") tool.terminal.say(line);
    return result;
  };
}

/** Prints what each plugin would be given, and executes none. */
export function explainer(tool: Tool): Invoke {
  let before: string | undefined;
  return (call) => {
    for (const line of explanation(tool, call, before)) tool.terminal.line(line);
    before = call.verb === "ADD" ? call.type : undefined;
    return undefined;
  };
}

/** A call as a shell command that can be copied and run. */
function explanation(tool: Tool, call: PluginCall, before: string | undefined): string[] {
  const { verb, type, env, conf } = call;
  const variables = { CNI_COMMAND: verb, ...env, CNI_PATH: pluginPath(tool).join(":") };
  const words = Object.entries(variables)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `${name}=${quoted(value)}`);
  return [
    ...(before === undefined ? [] : [`# prevResult: what ${before} has answered`]),
    `${words.join(" ")} ${findPlugin(tool, type)} <<'EOF'`,
    ...JSON.stringify(conf, undefined, 2).split("\n"),
    "EOF",
    "",
  ];
}

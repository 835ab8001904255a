import { CniError, Code } from "../../shared/cni/error.ts";
import { isJsonObject, parseJson } from "../../shared/base/json.ts";
import { ifnameProblem } from "../../shared/cni/request.ts";
import { quote } from "../../shared/base/text.ts";
import type { Arg } from "../../shared/libcni/cache.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import type { Flags } from "../../shared/cli/command.ts";
import type { Tool } from "./command.ts";
import { binFolder, netFolder as defaultNetFolder } from "../../shared/files/paths.ts";

/** The tool's settings, which come by the environment as with the CNI project's cnitool. */

/** A variable; an empty one is as good as none. */
function variable({ node }: Tool, name: string): string | undefined {
  const value = node.sys.env[name];
  return value === "" ? undefined : value;
}

/** The folder of the network configs. */
export function netFolder(tool: Tool): string {
  return variable(tool, "NETCONFPATH") ?? defaultNetFolder;
}

/** The folders to look for plugins in, in order. */
export function pluginPath(tool: Tool): readonly string[] {
  return (variable(tool, "CNI_PATH") ?? binFolder).split(":").filter((folder) => folder !== "");
}

/** The values of capabilities, or undefined where CAP_ARGS is not set. @throws CniError */
export function capabilityArgs(tool: Tool): JsonObject | undefined {
  const text = variable(tool, "CAP_ARGS");
  if (text === undefined) return undefined;
  const value = parseJson(text);
  if (isJsonObject(value)) return value;
  throw new CniError(
    Code.InvalidEnvironment,
    `Cannot use CAP_ARGS: it must be a JSON object (got ${quote(text)}).`,
    `Write an object in single quotes: CAP_ARGS='{"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}'.`,
  );
}

/** The pairs of CNI_ARGS, or undefined where it is not set. @throws CniError */
export function cniArgs(tool: Tool): readonly Arg[] | undefined {
  const text = variable(tool, "CNI_ARGS");
  return text?.split(";").map((pair): Arg => {
    const at = pair.indexOf("=");
    if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
    throw new CniError(
      Code.InvalidEnvironment,
      `Cannot use CNI_ARGS: each part must be KEY=VALUE (got ${quote(pair)}).`,
      "Write KEY=VALUE pairs with ';' between them, in quotes for the shell's sake.",
    );
  });
}

/** The name of the interface inside the container. @throws CniError */
export function ifnameOf(tool: Tool, flags: Flags): string {
  const ifname = flags.last("ifname") ?? variable(tool, "CNI_IFNAME") ?? "eth0";
  const problem = ifnameProblem(ifname);
  if (problem === undefined) return ifname;
  throw new CniError(
    Code.InvalidEnvironment,
    `Cannot use the interface name: it ${problem} (got ${quote(ifname)}).`,
    "Give another one by CNI_IFNAME or --ifname.",
  );
}

/** The id that a namespace's container goes by, the same as the CNI project's cnitool gives it. */
export function containerIdOf({ node }: Tool, netns: string): string {
  return `cnitool-${node.sys.sha512(netns).slice(0, 20)}`;
}

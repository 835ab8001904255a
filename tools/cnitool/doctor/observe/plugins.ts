import { isJsonArray, isJsonObject, parseJson } from "../../../../shared/base/json.ts";
import { findExecutable, isPresent } from "../../../../shared/files/files.ts";
import type { Tool } from "../../command.ts";
import { pluginPath } from "../../settings.ts";
import type { ConfigsView, PluginFile, PluginsView } from "../view.ts";

/** Milliseconds in which a plugin must print its version. */
const timeout = 10_000;
/** Bytes of what it may say. */
const maxOutput = 65_536;

/** Looks at the executables that a runtime calls for a pod of the network, and asks what they are. */
export function observePlugins(tool: Tool, { network, chains }: ConfigsView): PluginsView {
  const folders = pluginPath(tool);
  const builtins = new Set(tool.builtins.keys());
  const own = (network?.plugins ?? []).map(({ type }) => lookAt(tool, type, folders));
  const delegated = chains.flatMap(({ chain }) => chain.slice(1).map(({ type }) => type));
  // Our plugins have their delegates built in.
  const outside = own.every(({ about }) => isOurs(about))
    ? delegated.filter((type) => !builtins.has(type))
    : delegated;
  // containerd and CRI-O call loopback for each pod, whatever the network.
  const known = new Set(own.map(({ type }) => type));
  const more = [...new Set([...outside, "loopback"])].filter((type) => !known.has(type));
  const called =
    network === undefined ? [] : [...own, ...more.map((type) => lookAt(tool, type, folders))];
  return { folders, called, builtins, self: process.execPath };
}

/** Whether an executable's text about itself is ours. */
export function isOurs(about: string): boolean {
  return about.startsWith("flannel-cni ");
}

function lookAt({ node }: Tool, type: string, folders: readonly string[]): PluginFile {
  const path = findExecutable(type, folders);
  if (path === undefined) {
    const unusable = folders.map((folder) => `${folder}/${type}`).find(isPresent);
    return { type, path, unusable, versions: undefined, problem: "", about: "" };
  }
  const ask = (command: string) =>
    node.sys.run(path, [], {
      input: '{"cniVersion": "1.0.0"}',
      env: { ...node.sys.env, CNI_COMMAND: command },
      timeout,
      maxOutput,
    });
  const answer = ask("VERSION");
  const reply = parseJson(answer.stdout);
  const list = isJsonObject(reply) ? reply["supportedVersions"] : undefined;
  const versions = isJsonArray(list) ? list.map(String) : undefined;
  const problem =
    answer.failure ??
    (answer.status === 0 ? "it answers VERSION with no list" : `status ${String(answer.status)}`);
  const [about = ""] = versions === undefined ? [] : ask("").stderr.split("\n");
  return {
    type,
    path,
    unusable: undefined,
    versions,
    problem,
    about: about.replace(/, called as .*/, "").trim(),
  };
}

import { isJsonArray, isJsonObject, parseJson } from "../../../shared/base/json.ts";
import type { NetworkList } from "../../../shared/libcni/list.ts";
import { findExecutable, isPresent } from "../../../shared/files/files.ts";
import type { Tool } from "../command.ts";
import { quoted } from "../invoke.ts";
import { pluginPath } from "../settings.ts";
import { some } from "./finding.ts";
import type { Finding } from "./finding.ts";
import type { View } from "./view.ts";
import { binFolder } from "../../../shared/files/paths.ts";

/** Milliseconds for a plugin to say its version. */
const timeout = 10_000;
/** Bytes of what it may say. */
const maxOutput = 65_536;

/** A plugin's executable, and what it says of itself. */
interface Installed {
  readonly type: string;
  readonly path: string;
  /** What it speaks, or undefined if it gives no proper answer. */
  readonly versions: readonly string[] | undefined;
  /** Why it gives none. */
  readonly problem: string;
  /** "flannel-cni 0.1.0", or what another suite says of itself. */
  readonly suite: string;
}

/** The executables: whether they are there, run, speak the network's version, and are of one suite. */
export function checkPlugins({ tool, winner, delegations }: View): Finding[] {
  if (winner === undefined) return [];
  const own = winner.plugins.map(({ type }) => type);
  const delegated = delegations.flatMap(({ chain }) => chain.slice(1).map(({ type }) => type));
  const installed = own.flatMap((type) => look(tool, type) ?? []);
  // What ours delegates to it holds itself.
  const outside = installed.every(isOurs)
    ? delegated.filter((type) => !tool.builtins.has(type))
    : delegated;
  // containerd and CRI-O call it for each pod, whatever the network.
  const types = [...new Set([...own, ...outside, "loopback"])];
  const all = types.map((type) => ({ type, found: look(tool, type) }));
  const findings = all.flatMap(({ type, found }): Finding[] =>
    found === undefined ? [missing(tool, type)] : faults(winner, found),
  );
  const running = all.flatMap(({ found }) => found ?? []);
  return [
    ...findings,
    ...mixture(
      tool,
      running.filter(({ versions }) => versions !== undefined),
    ),
  ];
}

function isOurs({ suite }: Installed): boolean {
  return suite.startsWith("flannel-cni ");
}

/** The command that puts this executable in a plugin's place: a link, or a copy where none can be. */
function installing(path: string): string {
  const names = [process.execPath, path].map(quoted).join(" ");
  return `ln -f ${names} || install -m 755 ${names}`;
}

function look({ node, ...tool }: Tool, type: string): Installed | undefined {
  const path = findExecutable(type, pluginPath({ node, ...tool }));
  if (path === undefined) return undefined;
  const ask = (command: string) =>
    node.sys.run(path, [], {
      input: '{"cniVersion": "1.0.0"}',
      env: { ...node.sys.env, CNI_COMMAND: command },
      timeout,
      maxOutput,
    });
  const answer = ask("VERSION");
  const said = parseJson(answer.stdout);
  const list = isJsonObject(said) ? said["supportedVersions"] : undefined;
  const versions = isJsonArray(list) ? list.map(String) : undefined;
  const problem =
    answer.failure ??
    (answer.status === 0 ? "it answers VERSION with no list" : `status ${String(answer.status)}`);
  const [about = ""] = versions === undefined ? [] : ask("").stderr.split("\n");
  return { type, path, versions, problem, suite: about.replace(/, called as .*/, "").trim() };
}

function missing(tool: Tool, type: string): Finding {
  const folders = pluginPath(tool);
  const [folder = binFolder] = folders;
  const there = folders.map((one) => `${one}/${type}`).find(isPresent);
  return {
    id: "missing-plugin",
    severity: "error",
    what:
      there === undefined
        ? `The plugin ${type} is not in ${folders.join(":")}.`
        : `The plugin ${there} is not executable, or leads nowhere.`,
    means: `No pod can start: "failed to find plugin "${type}" in path".`,
    mend: tool.builtins.has(type)
      ? installing(`${folder}/${type}`)
      : `install ${type} into ${folder}`,
  };
}

function faults({ cniVersion, file }: NetworkList, found: Installed): Finding[] {
  const { type, path, versions, problem } = found;
  const version = cniVersion === "" ? "0.1.0" : cniVersion;
  if (versions === undefined) {
    return [
      {
        id: "broken-plugin",
        severity: "error",
        what: `${path} does not run as a CNI plugin: ${problem}.`,
        means: `No pod can start. It may be half copied, for another processor, or another program that is called ${type}.`,
        mend: installing(path),
      },
    ];
  }
  if (type === "loopback" || versions.includes(version)) return [];
  return [
    {
      id: "version-not-spoken",
      severity: "error",
      what: `${path} speaks CNI ${versions.join(", ")}, and the network is of ${version}.`,
      means: "The runtime refuses the network, or the plugin does for each pod.",
      mend: `${installing(path)} (or set cniVersion in ${file} to ${versions.at(-1) ?? "1.0.0"})`,
    },
  ];
}

/** Plugins of more than one suite or version, where one of them is ours. */
function mixture({ builtins }: Tool, installed: readonly Installed[]): Finding[] {
  const known = installed.filter(({ type }) => builtins.has(type));
  const suites = Map.groupBy(known, ({ suite }) => suite);
  const ours = [...suites.keys()].find((suite) => suite.startsWith("flannel-cni "));
  if (suites.size < 2 || ours === undefined) return [];
  const path = known.find(({ suite }) => suite !== ours)?.path ?? "";
  return [
    {
      id: "mixed-plugins",
      severity: "warning",
      what: `The plugins are of more than one suite or version: ${Array.from(suites, ([suite, list]) => `${some(list.map(({ type }) => type))} of ${suite === "" ? "another suite" : suite}`).join("; ")}.`,
      means:
        "They work together, but an installation was done by half, and not all of what this suite repairs and collects is there.",
      mend: installing(path),
    },
  ];
}

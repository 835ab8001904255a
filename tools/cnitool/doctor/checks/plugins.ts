import { binFolder } from "../../../../shared/files/paths.ts";
import type { NetworkList } from "../../../../shared/libcni/list.ts";
import type { Finding } from "../../../../shared/preconditions/finding.ts";
import { quoted } from "../../shell.ts";
import { isOurs } from "../observe/plugins.ts";
import { some } from "../view.ts";
import type { PluginFile, PluginsView, View } from "../view.ts";

/**
 * The executables: whether they exist, are the plugins that they are named after, and speak the
 * network's version.
 */
export function checkPlugins({ plugins, configs: { network } }: View): Finding[] {
  if (network === undefined) return [];
  const findings = plugins.called.flatMap((file): Finding[] => {
    if (file.path === undefined) return [missing(plugins, file)];
    const wrong = broken(plugins, file) ?? misnamed(plugins, file);
    return wrong === undefined ? speaks(plugins, network, file) : [wrong];
  });
  return [...findings, ...mixture(plugins)];
}

/**
 * The command that installs this executable as a plugin: by a link, or by a copy where links are
 * impossible.
 */
function installing({ self }: PluginsView, path: string): string {
  const names = [self, path].map(quoted).join(" ");
  return `ln -f ${names} || install -m 755 ${names}`;
}

/** The command that installs a plugin, if this executable has it. */
function wayTo(plugins: PluginsView, { type, path }: PluginFile): string {
  const [folder = binFolder] = plugins.folders;
  return plugins.builtins.has(type)
    ? installing(plugins, path ?? `${folder}/${type}`)
    : `install ${type} into ${folder}`;
}

function missing(plugins: PluginsView, file: PluginFile): Finding {
  const { type, unusable } = file;
  return {
    id: "missing-plugin",
    severity: "error",
    what:
      unusable === undefined
        ? `The plugin ${type} is not in ${plugins.folders.join(":")}.`
        : `The plugin ${unusable} is not executable, or is a dangling link.`,
    means: `No pod can start: "failed to find plugin "${type}" in path".`,
    fix: wayTo(plugins, file),
  };
}

function broken(plugins: PluginsView, file: PluginFile): Finding | undefined {
  const { type, path = "", versions, problem } = file;
  if (versions !== undefined) return undefined;
  return {
    id: "broken-plugin",
    severity: "error",
    what: `${path} does not run as a CNI plugin: ${problem}.`,
    means: `No pod can start. It may be half copied, for another processor, or another program that is called ${type}.`,
    fix: wayTo(plugins, file),
  };
}

/** A name that leads to another plugin, as after a copy over one of several hard links. */
function misnamed(plugins: PluginsView, file: PluginFile): Finding | undefined {
  const { type, path = "", about } = file;
  const named = nameIn(about);
  if (named === undefined || named === type) return undefined;
  return {
    id: "wrong-plugin",
    severity: "error",
    what: `${path} is another plugin: it says that it is "${about}".`,
    means:
      "No pod can start, or pods get a network that is not theirs. Another installer may have written into one of several links to one file.",
    fix: wayTo(plugins, file),
  };
}

/** The name in the text that the reference's and flannel's plugins print about themselves. */
function nameIn(about: string): string | undefined {
  const [, before, after] = /^CNI (?:plugin ([\w-]+)|([\w-]+) plugin)\b/i.exec(about) ?? [];
  return before ?? after;
}

function speaks(
  plugins: PluginsView,
  { cniVersion, file: config }: NetworkList,
  { type, path = "", versions = [] }: PluginFile,
): Finding[] {
  const version = cniVersion === "" ? "0.1.0" : cniVersion;
  if (type === "loopback" || versions.includes(version)) return [];
  return [
    {
      id: "version-not-spoken",
      severity: "error",
      what: `${path} supports CNI ${versions.join(", ")}, but the network has cniVersion ${version}.`,
      means: "Either the runtime rejects the network, or the plugin rejects every pod.",
      fix: `${installing(plugins, path)} (or set cniVersion in ${config} to ${versions.at(-1) ?? "1.0.0"})`,
    },
  ];
}

/** Plugins of more than one suite or version, one of which is ours. */
function mixture(plugins: PluginsView): Finding[] {
  const known = plugins.called.filter(
    ({ type, versions }) => versions !== undefined && plugins.builtins.has(type),
  );
  const suites = Map.groupBy(known, ({ about }) => about);
  const ownSuite = [...suites.keys()].find(isOurs);
  if (suites.size < 2 || ownSuite === undefined) return [];
  const foreign = known.find(({ about }) => about !== ownSuite);
  const list = Array.from(suites, ([suite, files]) => {
    const names = some(files.map(({ type }) => type));
    return `${names} of ${suite === "" ? "another suite" : suite}`;
  });
  return [
    {
      id: "mixed-plugins",
      severity: "warning",
      what: `The plugins are of more than one suite or version: ${list.join("; ")}.`,
      means:
        "They work together, but an installation is incomplete. cnitool repairs and collects only what this suite's plugins have made.",
      fix: installing(plugins, foreign?.path ?? ""),
    },
  ];
}

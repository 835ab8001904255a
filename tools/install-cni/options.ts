import { UsageError } from "../../shared/cli/command.ts";
import type { Flags, Option } from "../../shared/cli/command.ts";
import { printable, quote } from "../../shared/base/text.ts";
import { binFolder, netFolder } from "../../shared/files/paths.ts";

/** What a run is to do, from flags and environment. */
export interface Options {
  readonly action: "install" | "uninstall";
  readonly binDir: string;
  readonly confDir: string;
  readonly confName: string;
  /** The conflist: its text, the path of a file, or undefined for the usual one. */
  readonly conf: { readonly text: string } | { readonly file: string } | undefined;
  /** Whether to install the conflist, or to take it away. */
  readonly withConf: boolean;
  /** Whether each executable becomes its own file, even if links are possible. */
  readonly copies: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

const defaultConfName = "10-flannel.conflist";

/** The options of install-cni. */
export const optionTable: Readonly<Record<string, Option>> = {
  "bin-dir": {
    type: "string",
    value: "DIR",
    text: `the folder for the executables (CNI_BIN_DIR, or ${binFolder})`,
  },
  "conf-dir": {
    type: "string",
    value: "DIR",
    text: `the folder for the conflist (CNI_CONF_DIR, or ${netFolder})`,
  },
  "conf-name": {
    type: "string",
    value: "NAME",
    text: `the conflist's file name (CNI_CONF_NAME, or ${defaultConfName})`,
  },
  conf: { type: "string", value: "FILE", text: "the conflist (CNI_NETWORK_CONFIG_FILE)" },
  "conf-text": { type: "string", value: "JSON", text: "the same, as text (CNI_NETWORK_CONFIG)" },
  "no-conf": { type: "boolean", text: "install the executables alone" },
  copies: { type: "boolean", text: "make no hard links: a copy each, 110 MB" },
  uninstall: { type: "boolean", text: "take away what was installed, and nothing else" },
};

/** Reads the options of a run. @throws UsageError */
export function readOptions(flags: Flags, env: Environment): Options {
  const setting = (flag: string, variable: string): string | undefined =>
    flags.last(flag) ?? variableOf(env, variable);
  const confName = setting("conf-name", "CNI_CONF_NAME") ?? defaultConfName;
  if (!/^[^/]+\.conflist$/.test(confName) || printable(confName) !== confName) {
    throw new UsageError(
      `the conflist's name must end in .conflist, as runtimes want it, and have no '/' and no control characters (got ${quote(confName)})`,
    );
  }
  return {
    action: flags.has("uninstall") ? "uninstall" : "install",
    binDir: absolute(setting("bin-dir", "CNI_BIN_DIR") ?? binFolder),
    confDir: absolute(setting("conf-dir", "CNI_CONF_DIR") ?? netFolder),
    confName,
    conf:
      confOf(flags.last("conf"), flags.last("conf-text")) ??
      confOf(variableOf(env, "CNI_NETWORK_CONFIG_FILE"), variableOf(env, "CNI_NETWORK_CONFIG")),
    withConf: !flags.has("no-conf"),
    copies: flags.has("copies"),
  };
}

/** A variable's value; an empty one is as good as none. */
function variableOf(env: Environment, name: string): string | undefined {
  const value = env[name];
  return value === "" ? undefined : value;
}

function confOf(file: string | undefined, text: string | undefined): Options["conf"] {
  return file !== undefined ? { file } : text !== undefined ? { text } : undefined;
}

function absolute(folder: string): string {
  if (!folder.startsWith("/")) {
    throw new UsageError(`the folder must be an absolute path (got ${quote(folder)})`);
  }
  return folder.replace(/(?<=.)\/+$/, "");
}

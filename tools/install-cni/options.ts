import { parseArgs } from "node:util";
import { messageOf } from "../../shared/base/failure.ts";
import { binFolder, netFolder } from "../../shared/files/paths.ts";

/** What a run is to do, from flags and environment. */
export interface Options {
  readonly action: "install" | "uninstall" | "help";
  readonly binDir: string;
  readonly confDir: string;
  readonly confName: string;
  /** The conflist: its text, the path of a file, or undefined for the usual one. */
  readonly conf: { readonly text: string } | { readonly file: string } | undefined;
  /** Whether the conflist is any of its business. */
  readonly withConf: boolean;
  /** Whether each executable is to be a file of its own, even where links are possible. */
  readonly copies: boolean;
}

export const help = `install-cni puts flannel-cni's plugins and a network's conflist on a node.

Usage: install-cni [options]
       flannel install-cni [options]

  --bin-dir DIR        folder for the executables          [CNI_BIN_DIR, /opt/cni/bin]
  --conf-dir DIR       folder for the conflist             [CNI_CONF_DIR, /etc/cni/net.d]
  --conf-name NAME     the conflist's file name            [CNI_CONF_NAME, 10-flannel.conflist]
  --conf FILE          the conflist to install             [CNI_NETWORK_CONFIG_FILE]
  --conf-text JSON     the same, as text                   [CNI_NETWORK_CONFIG]
  --no-conf            installs the executables alone
  --copies             makes no hard links: a copy each, 110 MB
  --uninstall          takes away what was installed, and nothing else
  --help               prints this

A flag goes before its variable, a file before a text. Without any, the conflist is
/etc/kube-flannel/cni-conf.json if there is one, or else flannel's usual one.

Nothing is done where the conflist is not valid, or where all is as it should be already. It can be
killed at any moment and run again. Exit status: 0 done, 1 not done, 2 wrong usage.
`;

/** The arguments make no sense. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

type Environment = Readonly<Record<string, string | undefined>>;

const flags = {
  "bin-dir": { type: "string" },
  "conf-dir": { type: "string" },
  "conf-name": { type: "string" },
  conf: { type: "string" },
  "conf-text": { type: "string" },
  "no-conf": { type: "boolean" },
  copies: { type: "boolean" },
  uninstall: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

/** @throws UsageError */
export function readOptions(args: readonly string[], env: Environment): Options {
  const { values } = parse(args);
  const confName = values["conf-name"] ?? setIn(env, "CNI_CONF_NAME") ?? "10-flannel.conflist";
  if (!/^[^/]+\.conflist$/.test(confName)) {
    throw new UsageError(
      `The conflist's name is ${JSON.stringify(confName)}, but runtimes read lists from names that end in .conflist.`,
    );
  }
  return {
    action: values.help === true ? "help" : values.uninstall === true ? "uninstall" : "install",
    binDir: absolute(values["bin-dir"] ?? setIn(env, "CNI_BIN_DIR") ?? binFolder),
    confDir: absolute(values["conf-dir"] ?? setIn(env, "CNI_CONF_DIR") ?? netFolder),
    confName,
    conf:
      confOf(values.conf, values["conf-text"]) ??
      confOf(setIn(env, "CNI_NETWORK_CONFIG_FILE"), setIn(env, "CNI_NETWORK_CONFIG")),
    withConf: values["no-conf"] !== true,
    copies: values.copies === true,
  };
}

/** The same with what is given to `cp`: where from, and where to. @throws UsageError */
export function readCopy(args: readonly string[]): readonly [from: string, to: string] {
  try {
    const options = { force: { type: "boolean", short: "f" } } as const;
    const { positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    const [from, to, more] = positionals;
    if (from !== undefined && to !== undefined && more === undefined) return [from, to];
  } catch {
    // The usage says it.
  }
  throw new UsageError("Usage: cp [-f] FILE FILE-OR-FOLDER");
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags });
  } catch (cause) {
    throw new UsageError(messageOf(cause), { cause });
  }
}

/** A variable's value; an empty one is as good as none. */
function setIn(env: Environment, variable: string): string | undefined {
  const value = env[variable];
  return value === "" ? undefined : value;
}

function confOf(file: string | undefined, text: string | undefined): Options["conf"] {
  return file !== undefined ? { file } : text !== undefined ? { text } : undefined;
}

function absolute(folder: string): string {
  if (!folder.startsWith("/")) throw new UsageError(`The folder ${folder} is no absolute path.`);
  return folder.replace(/(?<=.)\/+$/, "");
}

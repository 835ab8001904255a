import { statSync } from "node:fs";
import { UsageError } from "../../shared/cli/command.ts";
import type { Command } from "../../shared/cli/command.ts";
import { runCommand } from "../../shared/cli/run.ts";
import type { Session } from "../../shared/cli/run.ts";
import { OutputError, Terminal } from "../../shared/cli/terminal.ts";
import { explainError } from "../../shared/cni/error.ts";
import { findExecutable } from "../../shared/files/files.ts";
import { fullExecutable, mountedConflist } from "../../shared/files/paths.ts";
import { ownExecutable } from "../../shared/runtime/sys.ts";
import type { Sys } from "../../shared/runtime/sys.ts";
import { contentOf } from "../../shared/files/content.ts";
import type { Content } from "../../shared/files/files.ts";
import { copyFile, digestOf } from "./atomic_file.ts";
import { conflictsWith } from "./conflicts.ts";
import { readConflist } from "./conflist.ts";
import type { Conflist } from "./conflist.ts";
import { nativeClient } from "./native_client.ts";
import { optionTable, readOptions } from "./options.ts";
import type { Options } from "./options.ts";
import { installedFiles, Transaction } from "./transaction.ts";
import type { Outcome, WantedFile } from "./transaction.ts";

/** What it installs. */
const self = ownExecutable;

type Warn = (line: string) => void;

/** What the commands work with. */
interface Tool {
  readonly sys: Sys;
  readonly terminal: Terminal;
  /** The names of the plugins that the executable holds. */
  readonly plugins: readonly string[];
}

/** Installs the plugins and a conflist on a node, or takes them away again. */
const installCommand: Command<Tool> = {
  name: "install-cni",
  operands: "",
  summary: "put the plugins and a network's conflist on a node",
  text: [
    "Puts flannel-cni's plugins and a network's conflist on a node. It is also a word",
    "of the executable by any other name: flannel install-cni.",
    "",
    "A flag goes before its variable, and a file before a text. Without any of them",
    `the conflist is ${mountedConflist} if there is one, or else`,
    "flannel's usual one. A conflist that is not valid is refused before anything is",
    "touched. A run can be killed at any moment, and run again.",
    "",
    "Exit status: 0 done, 1 not done, 2 wrong usage.",
  ],
  options: optionTable,
  examples: ["install-cni", `install-cni --conf ${mountedConflist}`, "install-cni --uninstall"],
  async run({ tool, flags }) {
    const { sys, terminal, plugins } = tool;
    const options = readOptions(flags, sys.env);
    const warn = warner("install-cni", terminal);
    const outcomes =
      options.action === "install"
        ? install(sys, options, plugins, warn)
        : uninstall(sys, options, warn);
    const lines = outcomes.map(
      ({ what, path, note }) => `${what.padEnd(9)} ${path}${note === "" ? "" : ` (${note})`}`,
    );
    if (outcomes.every(({ what }) => what === "unchanged" || what === "gone")) {
      lines.push("There was nothing to do.");
    }
    if (options.action === "install") lines.push(formOf(nativeClient()));
    report(terminal, lines);
    return 0;
  },
};

/**
 * Copies a file as `cp -f` does, which manifests made for other images call in an init container;
 * but the old file stays whole until the new one is.
 */
const copyCommand: Command<Tool> = {
  name: "cp",
  operands: "FILE FILE-OR-FOLDER",
  summary: "copy a file",
  text: ["Copies a file in one step: the old one stays whole until the new one is."],
  options: { force: { type: "boolean", short: "f", text: "nothing: it is always so" } },
  examples: ["cp -f /flannel /opt/cni/bin/flannel"],
  async run({ tool, operands }) {
    const [from, to] = operands;
    if (from === undefined || to === undefined) {
      throw new UsageError("it needs a file, and where to copy it to");
    }
    copyFile(tool.sys, from, to, warner("cp", tool.terminal));
    return 0;
  },
};

/** Carries out a call of install-cni. @returns the exit status. */
export async function installCni(
  sys: Sys,
  args: readonly string[],
  plugins: readonly string[],
): Promise<number> {
  return runCommand(installCommand, args, sessionOf(sys, plugins));
}

/** Carries out a call of cp. @returns the exit status. */
export async function copy(sys: Sys, args: readonly string[]): Promise<number> {
  return runCommand(copyCommand, args, sessionOf(sys, []));
}

function sessionOf(sys: Sys, plugins: readonly string[]): Session<Tool> {
  const terminal = new Terminal(sys);
  return {
    terminal,
    tool: { sys, terminal, plugins },
    usageStatus: 2,
    explain: explainError,
  };
}

function warner(name: string, terminal: Terminal): Warn {
  return (line) => {
    terminal.say(`${name}: warning: ${line}`);
  };
}

/** Prints what was done. It is done whether anybody reads it or not. */
function report(terminal: Terminal, lines: readonly string[]): void {
  try {
    for (const line of lines) terminal.line(line);
  } catch (error) {
    if (!(error instanceof OutputError)) throw error;
  }
}

function install(
  sys: Sys,
  options: Options,
  plugins: readonly string[],
  warn: Warn,
): readonly Outcome[] {
  const conflist = options.withConf ? readConflist(options.conf) : undefined;
  const client = nativeClient();
  const wantedFiles = executables(plugins, client, options.copies);
  // What an installation with the native client has left.
  const obsolete = client === undefined ? [fullExecutable] : [];
  const wantedConf = conflistFile(options.confName, conflist);
  const done = [
    installedFiles(sys, options.binDir, wantedFiles, obsolete),
    conflist === undefined ? [] : installedFiles(sys, options.confDir, wantedConf),
  ];
  if (done.every((outcomes) => outcomes !== undefined)) {
    if (conflist !== undefined) warnOf(conflist, options, warn);
    return done.flat();
  }
  using bin = new Transaction(sys, options.binDir, warn);
  using conf = conflist && new Transaction(sys, options.confDir, warn);
  const transactions = conf === undefined ? [bin] : [bin, conf];
  const swept = transactions.flatMap((transaction) => transaction.sweep());
  // All files are written before the first is renamed: the executables, then what names them.
  const unchanged = [...bin.stage(wantedFiles), ...(conf?.stage(wantedConf) ?? [])];
  for (const transaction of transactions) transaction.recordIntent();
  const changed = transactions.flatMap((transaction) => transaction.commit());
  changed.push(...bin.retire(obsolete));
  for (const transaction of transactions) transaction.recordResult();
  if (conflist !== undefined) warnOf(conflist, options, warn);
  return [...swept, ...changed, ...unchanged];
}

/** The conflist first: a network without plugins would be worse than none. */
function uninstall(sys: Sys, options: Options, warn: Warn): readonly Outcome[] {
  const folders = options.withConf ? [options.confDir, options.binDir] : [options.binDir];
  return folders.filter(isFolder).flatMap((path) => {
    using transaction = new Transaction(sys, path, warn);
    return [...transaction.sweep(), ...transaction.uninstall()];
  });
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function formOf(client: Content | undefined): string {
  return client === undefined
    ? "The plugins are the executable itself."
    : `The plugins are the agent's native client, beside ${fullExecutable}, which it executes.`;
}

/** The executable by the plugins' names, or the native client by these and what it executes by its own. */
function executables(
  plugins: readonly string[],
  client: Content | undefined,
  copies: boolean,
): WantedFile[] {
  const content = contentOf(self);
  const mode = statSync(self).mode & 0o777;
  const full = { content, digest: digestOf(content), mode, isSeparate: copies };
  // The one that delegates comes last.
  const names = plugins.toReversed();
  if (client === undefined) return names.map((name) => ({ ...full, name }));
  // It is small, and `cp -f` of another image writes into the file that it finds.
  const native = { ...full, content: client, digest: digestOf(client), isSeparate: true };
  return [{ ...full, name: fullExecutable }, ...names.map((name) => ({ ...native, name }))];
}

function conflistFile(name: string, conflist: Conflist | undefined): WantedFile[] {
  if (conflist === undefined) return [];
  const content = conflist.text;
  return [{ name, content, digest: digestOf(content), mode: 0o644, isSeparate: false }];
}

function warnOf({ value, plugins }: Conflist, options: Options, warn: Warn): void {
  for (const plugin of plugins) {
    if (findExecutable(plugin, [options.binDir]) !== undefined) continue;
    warn(`The conflist names the plugin ${plugin}, which is not in ${options.binDir}. Install it.`);
  }
  for (const conflict of conflictsWith(options.confDir, options.confName, value)) warn(conflict);
}

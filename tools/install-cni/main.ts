import { statSync } from "node:fs";
import { CniError } from "../../shared/cni/error.ts";
import { errnoOf, Failure, messageOf } from "../../shared/base/failure.ts";
import { findExecutable } from "../../shared/files/files.ts";
import type { Sys } from "../../shared/runtime/sys.ts";
import { readConflist } from "./conflist.ts";
import type { Conflist } from "./conflist.ts";
import { contentOf, copyFile, digestOf, textContent } from "./atomic_file.ts";
import { Folder } from "./transaction.ts";
import type { Outcome, Wanted } from "./transaction.ts";
import { help, readCopy, readOptions, UsageError } from "./options.ts";
import type { Options } from "./options.ts";
import { rivalsOf } from "./conflicts.ts";

/** The executable that runs, which is what it installs. */
const self = "/proc/self/exe";

type Warn = (line: string) => void;

/**
 * Installs the plugins and a conflist on a node, or takes them away again.
 * @param args what came after its name.
 * @param plugins the names of the plugins that the executable holds.
 * @returns the exit status.
 */
export function installCni(sys: Sys, args: readonly string[], plugins: readonly string[]): number {
  return attempt(sys, "install-cni", (warn) => {
    const options = readOptions(args, sys.env);
    if (options.action === "help") {
      say(sys, 1, help.trimEnd());
      return;
    }
    const outcomes =
      options.action === "install"
        ? install(sys, options, plugins, warn)
        : uninstall(sys, options, warn);
    for (const { what, path, note } of outcomes) {
      say(sys, 1, `${what.padEnd(9)} ${path}${note === "" ? "" : ` (${note})`}`);
    }
    if (outcomes.every(({ what }) => what === "unchanged" || what === "gone")) {
      say(sys, 1, "Nothing was to be done.");
    }
  });
}

/**
 * Copies a file as `cp -f` does, which manifests made for other images call in an init container;
 * but the old file stays whole until the new one is.
 * @returns the exit status.
 */
export function copy(sys: Sys, args: readonly string[]): number {
  return attempt(sys, "cp", (warn) => {
    const [from, to] = readCopy(args);
    copyFile(sys, from, to, warn);
  });
}

function install(
  sys: Sys,
  options: Options,
  plugins: readonly string[],
  warn: Warn,
): readonly Outcome[] {
  const conflist = options.withConf ? readConflist(options.conf) : undefined;
  using bin = new Folder(sys, options.binDir, warn);
  using conf = conflist && new Folder(sys, options.confDir, warn);
  const folders = conf === undefined ? [bin] : [bin, conf];
  const swept = folders.flatMap((folder) => folder.sweep());
  // All is made ready before any of it takes its place: the executables, then what names them.
  const unchanged = [
    ...bin.stage(executables(plugins), options.copies),
    ...(conf?.stage(conflistFile(options.confName, conflist), options.copies) ?? []),
  ];
  for (const folder of folders) folder.announce();
  const changed = folders.flatMap((folder) => folder.commit());
  for (const folder of folders) folder.finish();
  if (conflist !== undefined) warnOf(conflist, options, warn);
  return [...swept, ...changed, ...unchanged];
}

/** The conflist first: a network without plugins would be worse than none. */
function uninstall(sys: Sys, options: Options, warn: Warn): readonly Outcome[] {
  const folders = options.withConf ? [options.confDir, options.binDir] : [options.binDir];
  return folders.filter(isFolder).flatMap((path) => {
    using folder = new Folder(sys, path, warn);
    return [...folder.sweep(), ...folder.uninstall()];
  });
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function executables(plugins: readonly string[]): Wanted[] {
  const content = contentOf(self);
  const digest = digestOf(content);
  const mode = statSync(self).mode & 0o777;
  // The one that delegates comes last.
  return plugins.toReversed().map((name) => ({ name, content, digest, mode }));
}

function conflistFile(name: string, conflist: Conflist | undefined): Wanted[] {
  if (conflist === undefined) return [];
  const content = textContent(conflist.text);
  return [{ name, content, digest: digestOf(content), mode: 0o644 }];
}

function warnOf({ value, plugins }: Conflist, options: Options, warn: Warn): void {
  for (const plugin of plugins) {
    if (findExecutable(plugin, [options.binDir]) !== undefined) continue;
    warn(`the conflist names the plugin ${plugin}, which is not in ${options.binDir}. Install it.`);
  }
  for (const rival of rivalsOf(options.confDir, options.confName, value)) warn(rival);
}

function attempt(sys: Sys, name: string, work: (warn: Warn) => void): number {
  try {
    work((line) => {
      say(sys, 2, `${name}: warning: ${line}`);
    });
    return 0;
  } catch (error) {
    const usage = error instanceof UsageError;
    say(sys, 2, `${name}: ${usage ? `${error.message} See --help.` : explain(error)}`);
    return usage ? 2 : 1;
  }
}

/** What to do about errors of the file system. */
const advice: Readonly<Record<string, string>> = {
  EACCES: "Run it as root, and mount the folder writable.",
  EPERM: "Run it as root, and mount the folder writable.",
  EROFS: "Mount the folder writable, or name another one.",
  ENOSPC: "Make room: while it works it needs as much again as the executable has.",
  ENOTDIR: "A part of the path is a file. Name another folder.",
};

function explain(error: unknown): string {
  if (error instanceof Failure) return `${error.message} ${error.advice}`;
  if (error instanceof CniError) return `${error.message} ${error.details}`;
  const errno = errnoOf(error);
  if (errno === undefined) return `Cannot go on: ${messageOf(error)}. This is a defect.`;
  return `Cannot go on: ${messageOf(error)}. ${advice[errno] ?? "See what is wrong there."}`;
}

/** Says a line to a reader who may have gone: then the work and the exit status matter. */
function say(sys: Sys, fd: 1 | 2, line: string): void {
  try {
    sys.write(fd, `${line}\n`);
  } catch {
    // There is nobody to tell.
  }
}

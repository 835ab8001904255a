import { readdirSync } from "node:fs";

import { CniError, Code } from "../cni/error.ts";
import { errnoOf } from "../base/failure.ts";
import { printable, quote } from "../base/text.ts";
import { readIfPresent, readProblem } from "../files/read_file.ts";
import { readList, readPlugin, readSingle } from "./list.ts";
import type { NetworkList, PluginConf } from "./list.ts";

/** A file that a runtime takes for a network config. */
export interface NetworkFile {
  readonly file: string;
  /** What it says, or why it cannot be used. */
  readonly network: NetworkList | CniError;
}

/**
 * The network configs of a folder, in the order of their names. A runtime such as containerd uses the
 * first.
 * @throws CniError IoFailure if the folder cannot be read.
 */
export function listNetworks(folder: string): NetworkFile[] {
  return filesIn(folder, [".conf", ".conflist", ".json"]).map((file) => ({
    file,
    network: attempt(() => readNetwork(file)),
  }));
}

/**
 * The network of a name, as libcni finds it: lists before single configs, each in the order of their
 * names. None of the files that it reads until then may be broken.
 * @throws CniError
 */
export function loadNetwork(folder: string, name: string): NetworkList {
  const files = [...filesIn(folder, [".conflist"]), ...filesIn(folder, [".conf", ".json"])];
  const names: string[] = [];
  for (const file of files) {
    const network = readNetwork(file);
    if (network.name === name) return network;
    names.push(network.name);
  }
  throw new CniError(
    Code.InvalidNetworkConfig,
    files.length === 0
      ? `Cannot find the network ${quote(name)}: ${folder} has no network config.`
      : `Cannot find the network ${quote(name)}: ${folder} has ${names.map(printable).join(", ")}.`,
    files.length === 0
      ? "Put one there (README.md has flannel's), or set NETCONFPATH to the folder that has it."
      : "Give one of these names, or set NETCONFPATH to another folder. The name is the one in the file, not the file's.",
  );
}

/** Reads a file, and what belongs to it. @throws CniError */
function readNetwork(file: string): NetworkList {
  const text = read(file);
  if (!file.endsWith(".conflist")) return readSingle(text, file);
  const folder = file.slice(0, file.lastIndexOf("/"));
  return readList(text, file, (name) => readFolder(`${folder}/${name}`));
}

/** The plugins that a network has in a folder of its name (libcni 1.3). */
function readFolder(folder: string): PluginConf[] {
  return filesIn(folder, [".conf"]).map((file) => readPlugin(read(file), file));
}

function read(file: string): string {
  try {
    const text = readIfPresent(file);
    if (text !== undefined) return text;
  } catch (cause) {
    throw unreadable(file, cause);
  }
  throw new CniError(
    Code.IoFailure,
    `Cannot read ${file}: it is gone, or leads nowhere.`,
    "See what else changes this folder and, if the file is a symbolic link, where it leads.",
  );
}

/** The files with one of the endings, in order. A folder that is not there is like an empty one. */
function filesIn(folder: string, endings: readonly string[]): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map(({ name }) => name)
      .filter((name) => endings.includes(name.slice(Math.max(name.lastIndexOf("."), 0))))
      .toSorted()
      .map((name) => `${folder}/${name}`);
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") return [];
    throw unreadable(folder, cause);
  }
}

function unreadable(path: string, cause: unknown): CniError {
  return new CniError(
    Code.IoFailure,
    `Cannot read ${path}: ${readProblem(cause)}.`,
    "See what it is, its mode and its owner: network configs are files that root reads.",
    { cause },
  );
}

function attempt(action: () => NetworkList): NetworkList | CniError {
  try {
    return action();
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
}

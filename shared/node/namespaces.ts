import { readlinkSync, statSync } from "node:fs";
import type { Stats } from "node:fs";
import { isFailure } from "../base/failure.ts";
import { listIfPresent } from "../files/files.ts";
import { readIfPresent } from "../files/read_file.ts";
import { netnsFolders, ownNetns } from "../files/paths.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Link, Namespace, Node } from "./node.ts";

/** A network namespace of a container, as it can be reached just now. */
export interface FoundNamespace {
  /** A path that leads to it. */
  readonly path: string;
  readonly inode: number;
  /** Processes in it. */
  readonly pids: readonly number[];
  readonly links: readonly Link[];
  readonly addresses: readonly Cidr[];
}

/**
 * Looks at a container's network namespace, and closes it.
 * @returns undefined if there is none at the path, or it is the node's own.
 * @throws Failure kernel
 */
export function withContainer<T>(
  node: Node,
  path: string,
  look: (container: Namespace) => T,
): T | undefined {
  try {
    const container = path === "" ? undefined : node.container(path, false);
    return container === undefined ? undefined : look(container);
  } catch (error) {
    if (isFailure(error, "invalid")) return undefined;
    throw error;
  } finally {
    node.closeContainer(path);
  }
}

/**
 * A function that gives the inode number of a container's namespace at a path; undefined if there is
 * none, or it is the node's own. What is mounted now is known for a network namespace by its number;
 * any other is entered to find out.
 */
export function namespaceFinder(node: Node): (path: string) => number | undefined {
  const own = statSync(ownNetns);
  const mounted = new Set(mountedNamespaces().map(({ inode }) => inode));
  return (path) => {
    const found = statIfAny(path);
    // All namespaces are files of one file system.
    const isKnown = found?.dev === own.dev && found.ino !== own.ino && mounted.has(found.ino);
    return isKnown ? found.ino : withContainer(node, path, () => statIfAny(path)?.ino);
  };
}

function statIfAny(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    // A loop of links, for one.
    return undefined;
  }
}

/**
 * Finds the network namespaces of containers, by names, mounts and processes.
 * @param isWanted by inode number: those that are to be looked at.
 * @throws Failure kernel
 */
export function findNamespaces(node: Node, isWanted: (inode: number) => boolean): FoundNamespace[] {
  const nodeInode = statSync(ownNetns).ino;
  const found = new Map<number, { path: string; pids: number[] }>();
  const note = (inode: number | undefined, path: string, pid?: number): void => {
    if (inode === undefined || inode === nodeInode || !isWanted(inode)) return;
    const entry = found.get(inode) ?? { path, pids: [] };
    if (pid !== undefined) entry.pids.push(pid);
    found.set(inode, entry);
  };
  for (const folder of netnsFolders) {
    for (const name of listIfPresent(folder)) {
      const path = `${folder}/${name}`;
      note(statSync(path, { throwIfNoEntry: false })?.ino, path);
    }
  }
  for (const { inode, path } of mountedNamespaces()) note(inode, path);
  for (const name of listIfPresent("/proc")) {
    const path = `/proc/${name}/ns/net`;
    if (/^\d+$/.test(name)) note(inodeOfProcess(path), path, Number(name));
  }
  return [...found].flatMap(([inode, { path, pids }]) => {
    const content = withContainer(node, path, (container) => {
      const links = container.links();
      return { links, addresses: links.flatMap((link) => container.addresses(link)) };
    });
    return content === undefined ? [] : [{ path, inode, pids, ...content }];
  });
}

/** Where network namespaces are mounted, by lines such as "… net:[4026532281] /run/netns/a …". */
function mountedNamespaces(): { inode: number; path: string }[] {
  const text = readIfPresent("/proc/self/mountinfo") ?? "";
  return [...text.matchAll(/ net:\[(\d+)\] (\S+) /g)].map(([, inode, path = ""]) => ({
    inode: Number(inode),
    // Blanks and backslashes in it are written as octal numbers.
    path: path.replaceAll(/\\(\d{3})/g, (_, octal: string) =>
      String.fromCodePoint(Number.parseInt(octal, 8)),
    ),
  }));
}

/** The inode number of a process's namespace, out of "net:[4026531840]". */
function inodeOfProcess(path: string): number | undefined {
  try {
    const number = /^net:\[(\d+)\]$/.exec(readlinkSync(path))?.[1];
    return number === undefined ? undefined : Number(number);
  } catch {
    // It has ended.
    return undefined;
  }
}

import { readdirSync, readlinkSync, statSync } from "node:fs";
import { isFailure } from "../../../shared/base/failure.ts";
import { listIfPresent } from "../../../shared/files/files.ts";
import { netnsFolders, ownNetns } from "../../../shared/files/paths.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import type { Link, Namespace, Node } from "../../../shared/node/node.ts";

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

/** The inode number of the namespace at a path; undefined if there is none. @throws Failure kernel */
export function namespaceAt(node: Node, path: string): number | undefined {
  return withContainer(node, path, () => statSync(path, { throwIfNoEntry: false })?.ino);
}

/**
 * Finds the network namespaces of containers, by names and by processes.
 * @param known the inode numbers of those that need not be looked at.
 * @throws Failure kernel
 */
export function findNamespaces(node: Node, known: ReadonlySet<number>): FoundNamespace[] {
  const own = statSync(ownNetns).ino;
  const found = new Map<number, { path: string; pids: number[] }>();
  const note = (inode: number | undefined, path: string, pid?: number): void => {
    if (inode === undefined || inode === own || known.has(inode)) return;
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
  for (const name of readdirSync("/proc")) {
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

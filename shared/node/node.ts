import { isFailure } from "../base/failure.ts";
import { accessProblem, findExecutable, inodeOf, writeProblem } from "../files/files.ts";
import { readIfPresent } from "../files/read_file.ts";
import { fileAttributes } from "../files/attributes.ts";
import type { Attributes } from "../files/attributes.ts";
import { takeLock, takeNamedLock } from "../files/lock.ts";
import type { Lock } from "../files/lock.ts";
import type { LockKind } from "../files/lock_wait.ts";
import { openFile, runFolder, sysctlPath } from "../files/paths.ts";
import { commandFolders } from "../files/command.ts";
import { Namespace } from "./namespace.ts";
import { isOwnNamespace } from "./netns.ts";
import { forwardingKey } from "./sysctl.ts";
import { listenerName, listenersOn } from "./port_in_use.ts";
import type { Listeners, Port } from "./port_in_use.ts";
import type { RemoveLink } from "../netlink/removal.ts";
import { sockDiagSocket } from "../netlink/sock_diag.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Sys } from "../runtime/sys.ts";

export type { Attributes } from "../files/attributes.ts";
export type { Lock } from "../files/lock.ts";
export type { LockKind } from "../files/lock_wait.ts";
export { bridgePortsMax } from "../netlink/change.ts";
export type { PortVlans } from "../netlink/link_codec.ts";
export type { Link } from "../netlink/query.ts";
export { Namespace } from "./namespace.ts";
export { waitForCarrier, waitForDuplicateDetection, waitForLocalRoutes } from "./wait.ts";

/** A network namespace that another process has opened. Its path may lead elsewhere for this one. */
export interface PassedNetns {
  readonly path: string;
  readonly fd: number;
}

/** What a process that stays makes a call with. */
export interface NodeOptions {
  /** The namespace at CNI_NETNS. */
  readonly netns?: PassedNetns;
  /** Deletes links, in the place of a request that waits until they are freed. */
  readonly removeLink?: RemoveLink;
  /** How long it waits for locks, if others must not wait with it. */
  readonly patience?: Patience;
}

/** A limit for waits that is shorter than their own. */
interface Patience {
  readonly milliseconds: number;
  /** Throws in the place of waiting longer. */
  readonly giveUp: () => never;
}

/**
 * The node that a program runs on: its network namespace, those of its containers, and facts from
 * /proc. What it opens stays open until {@link Node.close}.
 */
export class Node implements Attributes, Disposable {
  readonly sys: Sys;
  /** The folder for what must not survive a reboot. */
  readonly runFolder = runFolder;
  readonly #attributes: Attributes;
  readonly #options: NodeOptions;
  #host: Namespace | undefined;
  #sockDiag: NetlinkSocket | undefined;
  #bootId: string | undefined;
  readonly #containers = new Map<string, Namespace>();

  constructor(sys: Sys, options: NodeOptions = {}) {
    this.sys = sys;
    this.#options = options;
    this.#attributes = fileAttributes(sys);
  }

  /** The node's own network namespace. @throws Failure kernel */
  get host(): Namespace {
    return (this.#host ??= Namespace.own(this.sys, this.#options.removeLink));
  }

  /**
   * A container's network namespace, opened once.
   * @param allowOwn whether it may be the host's.
   * @returns undefined if there is nothing at the path.
   * @throws Failure invalid if it is not a namespace, or the host's.
   */
  container(path: string, allowOwn: boolean): Namespace | undefined {
    const open = this.#containers.get(path);
    if (open !== undefined) return open;
    const { removeLink } = this.#options;
    const options = { allowOwn, reachedBy: this.#reach(path), removeLink };
    const found = Namespace.open(this.sys, this.host, path, options);
    if (found !== undefined) this.#containers.set(path, found);
    return found;
  }

  /** Closes a container's namespace, for a program that goes from one container to the next. */
  closeContainer(path: string): void {
    this.#containers.get(path)?.close();
    this.#containers.delete(path);
  }

  /** Whether a command of that name is in PATH or one of the usual folders. */
  hasCommand(name: string): boolean {
    return findExecutable(name, commandFolders(this.sys.env["PATH"])) !== undefined;
  }

  /** See {@link writeProblem}. */
  writeProblem(folder: string): Error | undefined {
    return writeProblem(folder);
  }

  /** Why the sysctls of the host cannot be set, or undefined. */
  sysctlProblem(): Error | undefined {
    return accessProblem(sysctlPath(forwardingKey(4)));
  }

  /** The host's sockets that get what comes to a port; see {@link listenersOn}. */
  listeners(port: Port): Listeners {
    return listenersOn(() => (this.#sockDiag ??= sockDiagSocket(this.sys)), port);
  }

  /** The process that has one of some sockets, as "name (pid 123)", if it can be found. */
  listenerName(inodes: readonly number[]): string | undefined {
    return listenerName(inodes);
  }

  /** Whether a path is that of the host's own network namespace. */
  isOwn(path: string): boolean {
    return isOwnNamespace(this.#reach(path));
  }

  /** The inode number of a network namespace, or undefined if the path leads nowhere. */
  inodeOf(path: string): number | undefined {
    return inodeOf(this.#reach(path));
  }

  /** The id of this boot, unique among all machines, or undefined if the kernel does not tell. */
  get bootId(): string | undefined {
    return (this.#bootId ??= readLine(sysctlPath("kernel/random/boot_id")));
  }

  get hostName(): string | undefined {
    return readLine(sysctlPath("kernel/hostname"));
  }

  attribute(path: string, name: string): string | undefined {
    return this.#attributes.attribute(path, name);
  }

  setAttribute(path: string, name: string, value: string): void {
    this.#attributes.setAttribute(path, name, value);
  }

  /** See {@link takeLock}. */
  lock(path: string, timeout: number, kind: LockKind = "exclusive"): Lock {
    return this.#wait(timeout, (limit) => takeLock(this.sys, path, limit, kind));
  }

  /** See {@link takeNamedLock}. */
  namedLock(name: string, timeout: number, kind?: LockKind): Lock {
    return this.#wait(timeout, (limit) => takeNamedLock(this.sys, name, limit, kind));
  }

  /** Closes all namespaces and sockets. They are opened again when they are needed. */
  close(): void {
    for (const container of this.#containers.values()) container.close();
    this.#containers.clear();
    this.#host?.close();
    this.#host = undefined;
    this.#sockDiag?.close();
    this.#sockDiag = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #wait(timeout: number, take: (timeout: number) => Lock): Lock {
    const { patience } = this.#options;
    if (patience === undefined) return take(timeout);
    try {
      return take(Math.min(timeout, patience.milliseconds));
    } catch (error) {
      if (isFailure(error, "busy")) patience.giveUp();
      throw error;
    }
  }

  /** The path by which this process reaches a namespace. */
  #reach(path: string): string {
    const { netns } = this.#options;
    return netns?.path === path ? openFile(netns.fd) : path;
  }
}

/** The content of a one-line file, or undefined if it is empty or cannot be read. */
function readLine(path: string): string | undefined {
  try {
    const line = readIfPresent(path)?.trim();
    return line === "" ? undefined : line;
  } catch {
    return undefined;
  }
}

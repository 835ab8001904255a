import { findExecutable, readIfPresent } from "../files/files.ts";
import { fileAttributes } from "../files/attributes.ts";
import type { Attributes } from "../files/attributes.ts";
import { takeLock, takeNamedLock } from "../files/lock.ts";
import type { Lock, LockKind } from "../files/lock.ts";
import { runFolder } from "../files/paths.ts";
import { commandFolders } from "../files/command.ts";
import type { Family } from "../net/address.ts";
import { Namespace } from "./namespace.ts";
import { isOwnNamespace } from "./netns.ts";
import { isListening, listenerName } from "./port_in_use.ts";
import type { Port } from "./port_in_use.ts";
import type { Sys } from "../runtime/sys.ts";

export type { Attributes } from "../files/attributes.ts";
export type { Lock } from "../files/lock.ts";
export type { PortVlans } from "../netlink/codec.ts";
export type { Link } from "../netlink/query.ts";
export type { Namespace } from "./namespace.ts";
export { waitForCarrier, waitForDuplicateDetection } from "./wait.ts";

/**
 * The node that a program runs on: its own network namespace, those of its containers, and what it
 * has in /proc. What it opens stays open until {@link Node.close}.
 */
export class Node implements Attributes, Disposable {
  readonly sys: Sys;
  /** Where to keep what is of no use after a reboot. */
  readonly runFolder = runFolder;
  readonly #attributes: Attributes;
  #host: Namespace | undefined;
  readonly #containers = new Map<string, Namespace>();

  constructor(sys: Sys) {
    this.sys = sys;
    this.#attributes = fileAttributes(sys);
  }

  /** The node's own network namespace. @throws Failure kernel */
  get host(): Namespace {
    return (this.#host ??= Namespace.own(this.sys));
  }

  /**
   * A container's network namespace, opened once.
   * @param allowOwn whether it may be the host's.
   * @returns undefined if there is nothing at the path.
   * @throws Failure invalid if it is no namespace, or the host's.
   */
  container(path: string, allowOwn: boolean): Namespace | undefined {
    const open = this.#containers.get(path);
    if (open !== undefined) return open;
    const found = Namespace.open(this.sys, this.host, path, allowOwn);
    if (found !== undefined) this.#containers.set(path, found);
    return found;
  }

  /** Closes a container's namespace, for a program that goes from one container to the next. */
  closeContainer(path: string): void {
    this.#containers.get(path)?.close();
    this.#containers.delete(path);
  }

  /** Whether there is a command of that name where commands are looked for. */
  hasCommand(name: string): boolean {
    return findExecutable(name, commandFolders(this.sys.env["PATH"])) !== undefined;
  }

  /** Whether a process of the host listens on a port; see {@link isListening}. */
  isListening(family: Family, port: Port): boolean {
    return isListening(this.sys, family, port);
  }

  /** The process that listens on a port, in words, if it can be found. */
  listenerName(port: Port): string | undefined {
    return listenerName(port);
  }

  /** Whether a path leads to the host's own network namespace. */
  isOwn(path: string): boolean {
    return isOwnNamespace(path);
  }

  /** Which boot this is, as no other boot of any machine, or undefined if that cannot be told. */
  get bootId(): string | undefined {
    return readLine("/proc/sys/kernel/random/boot_id");
  }

  get hostName(): string | undefined {
    return readLine("/proc/sys/kernel/hostname");
  }

  attribute(path: string, name: string): string | undefined {
    return this.#attributes.attribute(path, name);
  }

  setAttribute(path: string, name: string, value: string): void {
    this.#attributes.setAttribute(path, name, value);
  }

  /** See {@link takeLock}. */
  lock(path: string, timeout: number, kind: LockKind = "exclusive"): Lock {
    return takeLock(this.sys, path, timeout, kind);
  }

  /** See {@link takeNamedLock}. */
  namedLock(name: string, timeout: number): Lock {
    return takeNamedLock(this.sys, name, timeout);
  }

  /** Closes every namespace. The node opens them again when they are asked for. */
  close(): void {
    for (const container of this.#containers.values()) container.close();
    this.#containers.clear();
    this.#host?.close();
    this.#host = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** What a file of one line says, or undefined if it says nothing or cannot be read. */
function readLine(path: string): string | undefined {
  try {
    const line = readIfPresent(path)?.trim();
    return line === "" ? undefined : line;
  } catch {
    return undefined;
  }
}

import type { Family } from "../net/address.ts";
import { findExecutable, readIfPresent } from "../files/files.ts";
import { commandPath, Firewall } from "../firewall/firewall.ts";
import { isListening, listenerName } from "./port_in_use.ts";
import type { Port } from "./port_in_use.ts";
import { takeLock } from "../files/lock.ts";
import type { Lock } from "../files/lock.ts";
import { Namespace } from "./namespace.ts";
import { isOwnNamespace } from "./netns.ts";
import type { Sys } from "../runtime/sys.ts";

export type { Firewall, Variant } from "../firewall/firewall.ts";
export type { Lock } from "../files/lock.ts";
export type { PortVlans } from "../netlink/codec.ts";
export type { Link } from "../netlink/query.ts";
export type { Namespace } from "./namespace.ts";

/** Bytes that every file system with extended attributes has room for. */
const maxAttribute = 4096;

/** The extended attributes of files. */
export interface Attributes {
  /** Undefined if it has none, or its file system knows none. */
  attribute(path: string, name: string): string | undefined;
  /** Sets one, where the file system has them and the caller may. */
  setAttribute(path: string, name: string, value: string): void;
}

/**
 * The kernel, as one call of a plugin sees it. Nothing else touches links, rules or locks. What it
 * opens is closed by the end of the process, which is the end of the call.
 */
export class Kernel implements Attributes {
  readonly sys: Sys;
  /** Where to keep what is of no use after a reboot. */
  readonly runFolder = "/run/flannel-cni";
  readonly #attribute = Buffer.alloc(maxAttribute);
  #host: Namespace | undefined;
  #firewall: Firewall | undefined;
  readonly #containers = new Map<string, Namespace>();

  constructor(sys: Sys) {
    this.sys = sys;
  }

  /** The node's own network namespace. @throws CniError Kernel */
  get host(): Namespace {
    return (this.#host ??= Namespace.own(this.sys));
  }

  /**
   * A container's network namespace, opened once a call.
   * @param allowOwn whether it may be the host's (CNI_NETNS_OVERRIDE).
   * @returns undefined if there is nothing at the path.
   * @throws CniError InvalidEnvironment if it is no namespace, or the host's.
   */
  container(path: string, allowOwn: boolean): Namespace | undefined {
    const open = this.#containers.get(path);
    if (open !== undefined) return open;
    const found = Namespace.open(this.sys, this.host, path, allowOwn);
    if (found !== undefined) this.#containers.set(path, found);
    return found;
  }

  /** Whether there is a command of that name where commands are looked for. */
  hasCommand(name: string): boolean {
    return findExecutable(name, commandPath(this.sys.env["PATH"]).split(":")) !== undefined;
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

  /** The node's firewall. */
  get firewall(): Firewall {
    return (this.#firewall ??= new Firewall(this.sys));
  }

  /** Which boot this is, as no other boot of any machine, or undefined if that cannot be told. */
  get bootId(): string | undefined {
    return readLine("/proc/sys/kernel/random/boot_id");
  }

  get hostName(): string | undefined {
    return readLine("/proc/sys/kernel/hostname");
  }

  attribute(path: string, name: string): string | undefined {
    const length = this.sys.lgetxattr(path, name, this.#attribute);
    return length < 0 ? undefined : this.#attribute.toString("utf8", 0, length);
  }

  setAttribute(path: string, name: string, value: string): void {
    this.sys.lsetxattr(path, name, Buffer.from(value));
  }

  /** See {@link takeLock}. */
  lock(path: string, timeout: number): Lock {
    return takeLock(this.sys, path, timeout);
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

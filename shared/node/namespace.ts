import { closeSync, fstatSync, openSync, statSync } from "node:fs";

import { Failure } from "../base/failure.ts";
import type { Address } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";
import { sleep } from "../runtime/sleep.ts";
import { ownNetns } from "../files/paths.ts";
import type { RemoveLink } from "../netlink/removal.ts";
import type { LinkChange } from "../netlink/change.ts";
import type { PortVlans } from "../netlink/link_codec.ts";
import {
  duplicateDetection,
  getLinks,
  listAddresses,
  listLinks,
  listPortVlans,
} from "../netlink/query.ts";
import type { Link } from "../netlink/query.ts";
import { linkTo, listRoutes, withoutLocalRoute } from "../netlink/route_query.ts";
import type { Route } from "../netlink/route_query.ts";
import { errnoText, NetlinkSocket } from "../netlink/socket.ts";
import type { Sys } from "../runtime/sys.ts";
import { applyChanges, indexOf } from "./apply.ts";
import type { Target } from "./apply.ts";
import { namespacePathAdvice, openNetns, sameFile } from "./netns.ts";
import { readSysctl } from "./sysctl.ts";

const CLONE_NEWNET = 0x40000000;
const EINVAL = 22;

export interface NamespaceOptions {
  /** Whether it may be the host's. */
  readonly allowOwn?: boolean;
  /** Another path to the same file. */
  readonly reachedBy?: string;
  /** Deletes links, in the place of a request that waits until they are freed. */
  readonly removeLink?: RemoveLink | undefined;
}

/**
 * A network namespace, with one netlink socket that was opened inside it. All netlink requests go
 * through that socket, so the thread enters the namespace only to open the socket, and for sysctls.
 */
export class Namespace implements Disposable {
  readonly #sys: Sys;
  readonly #path: string;
  readonly #fd: number;
  /** The host's namespace, to return to; undefined for the host's own, which is never left. */
  readonly #host: Namespace | undefined;
  readonly #socket: NetlinkSocket;
  readonly #indexes = new Map<string, number>();
  readonly #target: Target;

  protected constructor(
    sys: Sys,
    path: string,
    fd: number,
    host: Namespace | undefined,
    removeLink?: RemoveLink,
  ) {
    this.#sys = sys;
    this.#path = path;
    this.#fd = fd;
    this.#host = host;
    this.#socket = this.#inside(() => new NetlinkSocket(sys));
    this.#target = {
      socket: this.#socket,
      hostFd: (host ?? this).#fd,
      indexes: this.#indexes,
      hostIndexes: (host ?? this).#indexes,
      lookUp: (name) => this.link(name),
      remove: removeLink && this.#remover(removeLink),
      inside: (action) => this.#inside(action),
    };
  }

  /** The namespace that the process was started in. @throws Failure kernel */
  static own(sys: Sys, removeLink?: RemoveLink): Namespace {
    return Namespace.#opened(sys, ownNetns, openSync(ownNetns, "r"), undefined, { removeLink });
  }

  /**
   * The namespace of a container.
   * @param path of the namespace's file, which messages name.
   * @returns undefined if there is nothing at the path.
   * @throws Failure invalid if the file is not a network namespace, or is the host's.
   */
  static open(
    sys: Sys,
    host: Namespace,
    path: string,
    options: NamespaceOptions,
  ): Namespace | undefined {
    const fd = openNetns(options.reachedBy ?? path);
    return fd === undefined ? undefined : Namespace.#opened(sys, path, fd, host, options);
  }

  /** Makes a namespace from its open file, and closes the file if that fails. */
  static #opened(
    sys: Sys,
    path: string,
    fd: number,
    host: Namespace | undefined,
    { allowOwn = true, removeLink }: NamespaceOptions,
  ): Namespace {
    try {
      if (!allowOwn && sameFile(fstatSync(fd), statSync(ownNetns))) {
        throw new Failure(
          "invalid",
          `Cannot use the namespace ${path}: it is the host's own, not a container's.`,
          "The container's process may have ended, and the host may have reused its number. Name the container's namespace.",
        );
      }
      return new Namespace(sys, path, fd, host, removeLink);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** A link by name. @throws Failure kernel */
  link(name: string): Link | undefined {
    return this.lookUp([name])[0];
  }

  /** Links by name; undefined for a name without a link. @throws Failure kernel */
  lookUp(names: readonly string[]): (Link | undefined)[] {
    const links = getLinks(this.#socket, names);
    for (const [at, name] of names.entries()) {
      const link = links[at];
      if (link === undefined) this.#indexes.delete(name);
      else this.#indexes.set(name, link.index);
    }
    return links;
  }

  /**
   * What has become of links that were looked up or made before; undefined for one that is gone, even if
   * another one has its name. @throws Failure kernel
   */
  lookAgain(names: readonly string[]): (Link | undefined)[] {
    const links = names.map((name) => this.#indexes.get(name) ?? name);
    return getLinks(this.#socket, links);
  }

  /** The index of a link that was looked up or made before, or else of the one that is there. @throws Failure kernel */
  indexOf(name: string): number {
    return indexOf(this.#target, name);
  }

  /** All links, or those that are ports of one, by its index. @throws Failure kernel */
  links(master?: number): Link[] {
    return listLinks(this.#socket, master);
  }

  /** The name of the link that leads to an address. @throws Failure kernel */
  linkTo(address: Address): string | undefined {
    return linkTo(this.#socket, address);
  }

  /** The addresses of a link. @throws Failure kernel */
  addresses(link: Link): Cidr[] {
    return listAddresses(this.#socket, link.index);
  }

  /** The state of duplicate address detection on a link. @throws Failure kernel */
  duplicateDetection(name: string): "none" | "running" | "failed" {
    return duplicateDetection(this.#socket, this.indexOf(name));
  }

  /** See {@link withoutLocalRoute}. @throws Failure kernel */
  withoutLocalRoute(name: string, addresses: readonly Address[]): Address[] {
    return withoutLocalRoute(this.#socket, this.indexOf(name), addresses);
  }

  /** The VLANs of a bridge port. @throws Failure kernel */
  portVlans(link: Link): PortVlans[] {
    return listPortVlans(this.#socket, link.index);
  }

  /** @throws Failure kernel */
  routes(): Route[] {
    return listRoutes(this.#socket);
  }

  /** A sysctl's value, or undefined if this kernel does not have it. */
  sysctl(key: string): string | undefined {
    return this.#inside(() => readSysctl(key));
  }

  /** See {@link applyChanges}. */
  apply(changes: readonly LinkChange[]): Failure[] {
    return applyChanges(this.#target, changes);
  }

  close(): void {
    this.#socket.close();
    closeSync(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Runs `action` with the thread in this namespace. It must stay synchronous. */
  #inside<T>(action: () => T): T {
    if (this.#host === undefined) return action();
    this.#enter(this);
    try {
      return action();
    } finally {
      this.#enter(this.#host);
    }
  }

  #remover(removeLink: RemoveLink): Target["remove"] {
    return (index, message) => {
      const isThere = (): boolean => getLinks(this.#socket, [index])[0] !== undefined;
      const { inside } = this.#target;
      return removeLink(this.#sys, { message, isThere, inside, sleep });
    };
  }

  #enter(namespace: Namespace): void {
    const answer = this.#sys.setns(namespace.#fd, CLONE_NEWNET);
    if (answer >= 0) return;
    if (answer === -EINVAL) {
      throw new Failure(
        "invalid",
        `Cannot use the namespace ${namespace.#path}: it must be a network namespace.`,
        namespacePathAdvice,
      );
    }
    throw new Failure(
      "kernel",
      `Cannot enter the namespace ${namespace.#path}: the kernel says ${errnoText(-answer)}.`,
      "Run it as root in the host's user namespace, with CAP_SYS_ADMIN.",
    );
  }
}

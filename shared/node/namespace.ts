import { closeSync, fstatSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";

import { Failure, errnoOf, messageOf } from "../base/failure.ts";
import type { Address } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";
import type { SetSysctl, LinkChange } from "../netlink/change.ts";
import { lockOpened, sleep } from "../files/lock.ts";
import type { Lock } from "../files/lock.ts";
import { namespacePathAdvice, openNetns, sameFile } from "./netns.ts";
import { ownNetns } from "../files/paths.ts";
import { describe, encode, tolerated } from "../netlink/encode.ts";
import type { NetlinkChange } from "../netlink/encode.ts";
import {
  duplicateDetection,
  getLink,
  linkTo,
  listAddresses,
  listLinks,
  listPortVlans,
  listRoutes,
} from "../netlink/query.ts";
import type { PortVlans } from "../netlink/codec.ts";
import type { Link, Route } from "../netlink/query.ts";
import { refusal } from "../netlink/refusal.ts";
import { errnoText, NetlinkSocket } from "../netlink/socket.ts";
import type { Sys } from "../runtime/sys.ts";

const CLONE_NEWNET = 0x40000000;
const EINVAL = 22;

/**
 * One network namespace, with one netlink socket that was opened inside it. All of netlink goes
 * through that socket, so the thread enters the namespace only to open it, and to write sysctls.
 */
export class Namespace implements Disposable {
  readonly #sys: Sys;
  readonly #path: string;
  readonly #fd: number;
  /** What to go back to; undefined for the host's own namespace, which is never left. */
  readonly #host: Namespace | undefined;
  readonly #socket: NetlinkSocket;
  readonly #indices = new Map<string, number>();

  private constructor(sys: Sys, path: string, fd: number, host: Namespace | undefined) {
    this.#sys = sys;
    this.#path = path;
    this.#fd = fd;
    this.#host = host;
    this.#socket = this.#within(() => new NetlinkSocket(sys));
  }

  /** The namespace that the process was started in. @throws Failure kernel */
  static own(sys: Sys): Namespace {
    return new Namespace(sys, ownNetns, openSync(ownNetns, "r"), undefined);
  }

  /**
   * The namespace of a container.
   * @param path where its file is.
   * @param allowOwn whether it may be the host's.
   * @returns undefined if there is nothing at the path.
   * @throws Failure invalid if what is there is no network namespace, or the host's.
   */
  static open(sys: Sys, host: Namespace, path: string, allowOwn: boolean): Namespace | undefined {
    const fd = openNetns(path);
    if (fd === undefined) return undefined;
    try {
      if (!allowOwn && sameFile(fstatSync(fd), statSync(ownNetns))) {
        throw new Failure(
          "invalid",
          `Cannot use the namespace ${path}: it is the host's own, not a container's.`,
          "The container's process may have ended, and the host may have reused its number. Name the container's namespace.",
        );
      }
      return new Namespace(sys, path, fd, host);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** A link by its name. @throws Failure kernel */
  link(name: string): Link | undefined {
    const link = getLink(this.#socket, name);
    if (link === undefined) this.#indices.delete(name);
    else this.#indices.set(name, link.index);
    return link;
  }

  /** @throws Failure kernel */
  links(): Link[] {
    return listLinks(this.#socket);
  }

  /** The name of the link that packets to an address leave by. @throws Failure kernel */
  linkTo(address: Address): string | undefined {
    return linkTo(this.#socket, address);
  }

  /** The addresses of a link. @throws Failure kernel */
  addresses(link: Link): Cidr[] {
    return listAddresses(this.#socket, link.index);
  }

  /** The VLANs of a bridge port. @throws Failure kernel */
  portVlans(link: Link): PortVlans[] {
    return listPortVlans(this.#socket, link.index);
  }

  /** @throws Failure kernel */
  routes(): Route[] {
    return listRoutes(this.#socket);
  }

  /** A sysctl's value, or undefined if this kernel has no such. */
  sysctl(key: string): string | undefined {
    return this.#within(() => {
      try {
        return readFileSync(`/proc/sys/${key}`, "utf8").trim();
      } catch {
        return undefined;
      }
    });
  }

  /**
   * Keeps other calls from changing what the namespace's links share. Its own file is what is
   * locked: there is none to make, to leave behind, or to be on a disk that is full.
   * @param kind "shared" to find it unchanged until the release, "exclusive" to change it. A call
   *   that has the one and wants the other asks again: others may come in between.
   * @param timeout milliseconds to wait for others at the most.
   * @throws Failure busy when the wait is over.
   */
  lock(kind: "shared" | "exclusive", timeout: number): Lock {
    return lockOpened(this.#sys, this.#fd, { what: this.#path, kind, timeout });
  }

  /**
   * Carries steps out in order, as many in one send as can be.
   * @throws Failure kernel for the first one that failed; the ones after it may be done or not.
   */
  apply(steps: readonly LinkChange[]): void {
    let requests: NetlinkChange[] = [];
    let sysctls: SetSysctl[] = [];
    const flush = (): void => {
      if (requests.length > 0) this.#send(requests);
      if (sysctls.length > 0) this.#setSysctls(sysctls);
      requests = [];
      sysctls = [];
    };
    for (const step of steps) {
      if (step.kind === "set-sysctl") {
        if (requests.length > 0) flush();
        sysctls.push(step);
        continue;
      }
      if (sysctls.length > 0) flush();
      const named = step.kind === "set-link" ? step.master : "link" in step ? step.link : undefined;
      if (named !== undefined && !this.#indices.has(named)) {
        // A step before this one may be what makes the link.
        flush();
        this.#indexOf(named);
      }
      requests.push(step);
    }
    flush();
  }

  /**
   * Waits until packets can pass a link: a bridge forwards nothing to a port before the kernel has
   * seen its carrier, which it learns on a queue of its own.
   * @param timeout milliseconds
   * @throws Failure kernel when the time is over.
   */
  waitOperational(name: string, timeout: number): void {
    const end = performance.now() + timeout;
    for (let pause = 0.2; this.link(name)?.operational !== true; pause = Math.min(pause * 2, 50)) {
      if (performance.now() >= end) {
        throw new Failure(
          "kernel",
          `Cannot use ${name}: it has no carrier after ${String(timeout / 1000)} seconds.`,
          "See the kernel's log (dmesg); a node with too many links may be slow to bring one up.",
        );
      }
      sleep(pause);
    }
  }

  /**
   * Waits until the kernel knows that no other has a link's IPv6 addresses.
   * @param timeout milliseconds
   * @throws Failure conflict if another has one; busy when the time is over.
   */
  waitSettled(name: string, timeout: number): void {
    const index = this.#indexOf(name);
    const end = performance.now() + timeout;
    for (;;) {
      const state = duplicateDetection(this.#socket, index);
      if (state === "none") return;
      if (state === "failed") {
        throw new Failure(
          "conflict",
          `Cannot use the addresses of ${name}: another host on the link has one of them.`,
          "Find out which: ip -6 neighbour, or a packet capture for neighbour advertisements.",
        );
      }
      if (performance.now() >= end) {
        throw new Failure(
          "busy",
          `Cannot use the addresses of ${name}: duplicate address detection is not done after ${timeout / 1000} seconds.`,
          "See whether the link has a carrier, or switch duplicate address detection off.",
        );
      }
      sleep(20);
    }
  }

  close(): void {
    this.#socket.close();
    closeSync(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #send(steps: readonly NetlinkChange[]): void {
    const home = this.#host ?? this;
    const around = {
      indexOf: (name: string): number => this.#indexOf(name),
      hostFd: home.#fd,
    };
    const replies = this.#socket.transact(steps.map((step) => encode(step, around)));
    let at = 0;
    for (const step of steps) {
      const reply = replies[at++];
      if (reply === undefined || reply.errno === 0) continue;
      if (!tolerated(step).includes(reply.errno)) throw refusal(step, reply);
    }
  }

  #indexOf(name: string): number {
    const known = this.#indices.get(name) ?? this.link(name)?.index;
    if (known !== undefined) return known;
    throw new Failure(
      "kernel",
      `Cannot use the link ${name}: there is none of that name.`,
      "It was there a moment ago: something else on this node deletes it. Find out what does.",
    );
  }

  #setSysctls(steps: readonly SetSysctl[]): void {
    this.#within(() => {
      for (const step of steps) setSysctl(step);
    });
  }

  /** Runs `span` with the thread in this namespace. The span is synchronous, and stays so. */
  #within<T>(span: () => T): T {
    if (this.#host === undefined) return span();
    this.#enter(this);
    try {
      return span();
    } finally {
      this.#enter(this.#host);
    }
  }

  #enter(namespace: Namespace): void {
    const answer = this.#sys.setns(namespace.#fd, CLONE_NEWNET);
    if (answer >= 0) return;
    if (answer === -EINVAL) {
      throw new Failure(
        "invalid",
        `Cannot use the namespace ${namespace.#path}: the file is no network namespace.`,
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

/** Writes a sysctl of the namespace that the thread is in. */
function setSysctl(step: SetSysctl): void {
  try {
    writeFileSync(`/proc/sys/${step.key}`, step.value, { flag: "r+" });
  } catch (cause) {
    if (step.optional && errnoOf(cause) === "ENOENT") return;
    throw new Failure(
      "kernel",
      `Cannot ${describe(step)}: ${messageOf(cause)}.`,
      "If /proc/sys is read-only here, mount it writable for the container runtime.",
      { cause },
    );
  }
}

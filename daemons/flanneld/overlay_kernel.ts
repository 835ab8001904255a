import { writeFileSync } from "node:fs";

import { errnoOf, Failure, messageOf } from "../../shared/base/failure.ts";
import { Churn } from "../../shared/daemon/churn.ts";
import { sysctlPath } from "../../shared/files/paths.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { listInterfaceAddresses } from "../../shared/netlink/interface_address.ts";
import type { InterfaceAddress } from "../../shared/netlink/interface_address.ts";
import { DumpDigest } from "../../shared/netlink/dump_digest.ts";
import { fdbDump, listFdb, listNeighbours, neighbourDump } from "../../shared/netlink/neighbour.ts";
import type { ListedFdbEntry, NeighbourEntry } from "../../shared/netlink/neighbour.ts";
import {
  describeOverlay,
  encodeOverlay,
  isByNetlink,
  isDone,
} from "../../shared/netlink/overlay_change.ts";
import type { OverlayChange } from "../../shared/netlink/overlay_change.ts";
import { getLinks, listAddresses, listLinks } from "../../shared/netlink/query.ts";
import type { Link } from "../../shared/netlink/query.ts";
import { listMainRoutes, mainRouteDump, nextHops } from "../../shared/netlink/route.ts";
import type { NextHop, TableRoute } from "../../shared/netlink/route.ts";
import { errnoText, NetlinkSocket } from "../../shared/netlink/socket.ts";
import { listIpips } from "../../shared/netlink/ipip.ts";
import type { IpipLink } from "../../shared/netlink/ipip.ts";
import { listVxlans } from "../../shared/netlink/vxlan.ts";
import type { VxlanLink } from "../../shared/netlink/vxlan.ts";
import { readSysctl } from "../../shared/node/sysctl.ts";
import type { Sys } from "../../shared/runtime/sys.ts";

/**
 * The most messages in one datagram: the answers to more would not fit into the socket's receive
 * buffer, and be lost.
 */
export const batchSize = 96;

/** For dumps, which have thousands of messages. */
const bytesOfMessage = 320;

/** The index of a device that would be made, if anything were. */
export const plannedDevice = -1;

/** What came of a change. */
export interface Outcome {
  /** 0 if the change is made, now or before. */
  readonly errno: number;
  /** Why it is not made, as a sentence; "" if it is. */
  readonly problem: string;
}

/** What the kernel has for the overlay, and how it is changed. */
export class OverlayKernel implements Disposable {
  readonly #socket: NetlinkSocket;
  readonly #sys: Sys;
  readonly #tunMaker: ((name: string) => void) | undefined;
  #dumpDigest: DumpDigest | undefined;

  /**
   * In the network namespace that the thread is in.
   * @param tunMaker makes a tun device, for the backend that has one.
   * @throws Failure kernel
   */
  constructor(sys: Sys, tunMaker?: (name: string) => void) {
    this.#sys = sys;
    this.#tunMaker = tunMaker;
    const churn = new Churn(sys.collectYoung);
    const recv: Sys["recv"] = (fd, into, flags) => {
      const got = sys.recv(fd, into, flags);
      churn.add(got / bytesOfMessage);
      return got;
    };
    this.#socket = new NetlinkSocket({ ...sys, recv });
  }

  link(name: string): Link | undefined {
    return getLinks(this.#socket, [name])[0];
  }

  links(): Link[] {
    return listLinks(this.#socket);
  }

  vxlans(): VxlanLink[] {
    return listVxlans(this.#socket);
  }

  ipips(): IpipLink[] {
    return listIpips(this.#socket);
  }

  addresses(link: number): Cidr[] {
    return listAddresses(this.#socket, link);
  }

  /** The addresses of all links. */
  interfaceAddresses(family: Family): InterfaceAddress[] {
    return listInterfaceAddresses(this.#socket, family);
  }

  neighbours(family: Family, link: number): NeighbourEntry[] {
    return listNeighbours(this.#socket, family, link);
  }

  fdb(link: number): ListedFdbEntry[] {
    return listFdb(this.#socket, link);
  }

  routes(family: Family): TableRoute[] {
    return listMainRoutes(this.#socket, family);
  }

  /**
   * A text that is another when a link's neighbours or forwarding entries, or the family's routes, are.
   * @param link 0 for none.
   * @returns undefined if something was changing.
   */
  digest(family: Family, link: number): string | undefined {
    this.#dumpDigest ??= new DumpDigest(this.#sys);
    const entries = link === 0 ? [] : [neighbourDump(family, link), fdbDump(link)];
    const parts: string[] = [];
    for (const dump of [...entries, mainRouteDump(family)]) {
      const part = this.#dumpDigest.digest(dump);
      if (part === undefined) return undefined;
      parts.push(part);
    }
    return `${link} ${parts.join("\n")}`;
  }

  nextHops(addresses: readonly Address[]): (NextHop | undefined)[] {
    const found: (NextHop | undefined)[] = [];
    for (let at = 0; at < addresses.length; at += batchSize) {
      found.push(...nextHops(this.#socket, addresses.slice(at, at + batchSize)));
    }
    return found;
  }

  /** Whether it only tells what it would do. */
  get isDry(): boolean {
    return false;
  }

  /** Makes changes in order, at most {@link batchSize}. A refused one does not stop the rest. */
  execute(changes: readonly OverlayChange[]): Outcome[] {
    const encoded = changes.filter(isByNetlink).map(encodeOverlay);
    const replies = (encoded.length === 0 ? [] : this.#socket.transact(encoded)).values();
    return changes.map((change) => {
      if (!isByNetlink(change)) return this.#createTun(change.name);
      const { errno, text } = replies.next().value ?? { errno: 0, text: "" };
      if (isDone(change, errno)) return { errno: 0, problem: "" };
      const words = text === "" ? "" : ` (${text})`;
      return {
        errno,
        problem: `Cannot ${describeOverlay(change)}: the kernel says ${errnoText(errno)}${words}.`,
      };
    });
  }

  #createTun(name: string): Outcome {
    try {
      if (this.#tunMaker === undefined) throw new Failure("kernel", "This runtime makes none.", "");
      this.#tunMaker(name);
      return { errno: 0, problem: "" };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return { errno: -1, problem: `${messageOf(error)} ${error.advice}` };
    }
  }

  /** A sysctl's value, or undefined if this kernel does not have it. */
  sysctl(key: string): string | undefined {
    return readSysctl(key);
  }

  /**
   * Sets a sysctl, where that is possible: a container's /proc/sys is read-only.
   * @throws Failure kernel
   */
  setSysctl(key: string, value: string): void {
    try {
      writeFileSync(sysctlPath(key), value, { flag: "r+" });
    } catch (cause) {
      if (["ENOENT", "EROFS"].includes(errnoOf(cause) ?? "")) return;
      throw new Failure(
        "kernel",
        `Cannot set the sysctl ${key.replaceAll("/", ".")} to ${value}: ${messageOf(cause)}.`,
        "Run flanneld as root with CAP_NET_ADMIN.",
        { cause },
      );
    }
  }

  close(): void {
    this.#dumpDigest?.close();
    this.#dumpDigest = undefined;
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

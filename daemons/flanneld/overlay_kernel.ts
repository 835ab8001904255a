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
  encodeWireguard,
  isDone,
  requestOf,
} from "../../shared/netlink/overlay_change.ts";
import type { OverlayChange, OverlayRequest } from "../../shared/netlink/overlay_change.ts";
import { findFamily, genlSocket } from "../../shared/netlink/genl.ts";
import { getLinks, listAddresses, listLinks } from "../../shared/netlink/query.ts";
import type { Link } from "../../shared/netlink/query.ts";
import { listMainRoutes, mainRouteDump, nextHops } from "../../shared/netlink/route.ts";
import type { NextHop, TableRoute } from "../../shared/netlink/route.ts";
import { NetlinkSocket } from "../../shared/netlink/socket.ts";
import type { Reply } from "../../shared/netlink/socket.ts";
import { listIpips } from "../../shared/netlink/ipip.ts";
import type { IpipLink } from "../../shared/netlink/ipip.ts";
import { readWireguard, wireguardFamily } from "../../shared/netlink/wireguard.ts";
import type { WireguardDevice } from "../../shared/netlink/wireguard.ts";
import { listVxlans } from "../../shared/netlink/vxlan.ts";
import type { VxlanLink } from "../../shared/netlink/vxlan.ts";
import { readSysctl } from "../../shared/node/sysctl.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import { portErrnoText } from "./port_errno.ts";

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
  readonly #sys: LastingSys;
  /** The same, but that what is received counts as garbage to be. */
  readonly #counted: LastingSys;
  readonly #tunMaker: ((name: string) => void) | undefined;
  #dumpDigest: DumpDigest | undefined;
  #wireguard: { readonly socket: NetlinkSocket; readonly family: number } | undefined;

  /**
   * In the network namespace that the thread is in.
   * @param tunMaker makes a tun device, for the backend that has one.
   * @throws Failure kernel
   */
  constructor(sys: LastingSys, tunMaker?: (name: string) => void) {
    this.#tunMaker = tunMaker;
    const churn = new Churn(sys.collectYoung);
    const recv: LastingSys["recv"] = (fd, into, flags) => {
      const got = sys.recv(fd, into, flags);
      churn.add(got / bytesOfMessage);
      return got;
    };
    this.#sys = sys;
    this.#counted = { ...sys, recv };
    this.#socket = new NetlinkSocket(this.#counted);
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

  /** A WireGuard device; undefined if there is none. */
  wireguard(link: number): WireguardDevice | undefined {
    const { socket, family } = this.#wireguardSocket();
    if (family === 0) return undefined;
    return readWireguard(socket, family, link);
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
   * A text that is another when links' neighbours or forwarding entries, or the family's routes, are.
   * @returns undefined if something was changing.
   */
  digest(family: Family, links: readonly number[]): string | undefined {
    this.#dumpDigest ??= new DumpDigest(this.#sys);
    const entries = links.flatMap((link) => [neighbourDump(family, link), fdbDump(link)]);
    const parts: string[] = [];
    for (const dump of [...entries, mainRouteDump(family)]) {
      const part = this.#dumpDigest.digest(dump);
      if (part === undefined) return undefined;
      parts.push(part);
    }
    return `${links.join(" ")} ${parts.join("\n")}`;
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
    return inRuns(changes.map(requestOf)).flatMap((run) => this.#executeRun(run));
  }

  #executeRun({ by, requests }: RequestRun): Outcome[] {
    switch (by) {
      case "rtnetlink": {
        const changes = requests.flatMap((request) => (request.by === by ? [request.change] : []));
        const replies = this.#socket.transact(changes.map(encodeOverlay));
        return changes.map((change, at) => outcomeOf(change, replies[at]));
      }
      case "wireguard": {
        const changes = requests.flatMap((request) => (request.by === by ? [request.change] : []));
        const { socket, family } = this.#wireguardSocket();
        const encoded = changes.map((change) => encodeWireguard(family, change));
        const replies = socket.transact(encoded.flat());
        return changes.map((change, at) => {
          const parts = replies.splice(0, encoded[at]?.length);
          return outcomeOf(change, parts.find(({ errno }) => errno !== 0) ?? parts[0]);
        });
      }
      case "tun":
        return requests.flatMap((request) =>
          request.by === by ? [this.#createTun(request.change.name)] : [],
        );
    }
  }

  /** Opened with the first device. The family has no number as long as the kernel does not have it. */
  #wireguardSocket(): { readonly socket: NetlinkSocket; readonly family: number } {
    const known = this.#wireguard ?? { socket: genlSocket(this.#counted), family: 0 };
    const found = known.family === 0 ? findFamily(known.socket, wireguardFamily) : known.family;
    this.#wireguard = { ...known, family: found ?? 0 };
    return this.#wireguard;
  }

  #createTun(name: string): Outcome {
    try {
      if (this.#tunMaker === undefined) {
        throw new Failure(
          "kernel",
          `Cannot create ${name}: the backend that it is for had not been chosen when flanneld started.`,
          "Restart flanneld.",
        );
      }
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
        `Run flanneld as root, or set it on the node: sysctl -w ${key.replaceAll("/", ".")}=${value}.`,
        { cause },
      );
    }
  }

  close(): void {
    this.#dumpDigest?.close();
    this.#dumpDigest = undefined;
    this.#wireguard?.socket.close();
    this.#wireguard = undefined;
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Requests one after another that are made in the same way. */
interface RequestRun {
  readonly by: OverlayRequest["by"];
  readonly requests: OverlayRequest[];
}

/** Splits requests into runs, without changing their order: what leads to a peer comes after the peer. */
function inRuns(requests: readonly OverlayRequest[]): RequestRun[] {
  const runs: RequestRun[] = [];
  for (const request of requests) {
    const last = runs.at(-1);
    if (last?.by === request.by) last.requests.push(request);
    else runs.push({ by: request.by, requests: [request] });
  }
  return runs;
}

function outcomeOf(change: OverlayChange, reply: Reply | undefined): Outcome {
  const { errno, text } = reply ?? { errno: 0, text: "" };
  if (isDone(change, errno)) return { errno: 0, problem: "" };
  const words = text === "" ? "" : ` (${text})`;
  return {
    errno,
    problem: `Cannot ${describeOverlay(change)}: the kernel says ${portErrnoText(errno)}${words}.`,
  };
}

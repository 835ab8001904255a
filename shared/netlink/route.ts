import { addressBytes, addressFromBytes } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";
import { attributes, Flag, readU32, routeMessage, Type } from "./codec.ts";
import type { Message, Received } from "./codec.ts";
import { routeRequest } from "./route_query.ts";
import { understood } from "./socket.ts";
import type { NetlinkSocket } from "./socket.ts";

/** Routes as a routing daemon sees them: with who made them, and of every type (linux/rtnetlink.h). */
const AF_INET = 2;
const AF_INET6 = 10;
const RT_TABLE_MAIN = 254;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_NOWHERE = 255;
const RTN_UNICAST = 1;
const RTN_BLACKHOLE = 6;
const RTNH_F_ONLINK = 4;
const RTM_F_CLONED = 0x200;
const RTA = { dst: 1, oif: 4, gateway: 5, priority: 6, multipath: 9, table: 15 } as const;
/** Bytes of struct rtmsg. */
const RTMSG = 12;
/** The metric that the kernel gives an IPv6 route without one. */
const ipv6Metric = 1024;

/** Who made a route. */
export const RouteProtocol = { kernel: 2, boot: 3 } as const;

/** A route of the main table. */
export interface TableRoute {
  readonly dst: Cidr;
  readonly type: "unicast" | "blackhole" | "other";
  readonly gateway: Address | undefined;
  /** Index of the link that it leads through, or 0. */
  readonly link: number;
  /** Whether the gateway is on the link without an address saying so. */
  readonly onlink: boolean;
  readonly protocol: number;
  /** The lowest takes precedence; 0 is the lowest in IPv4. */
  readonly metric: number;
  /** Whether it has several next hops; then gateway and link are meaningless. */
  readonly multipath: boolean;
}

/** A route to make in the main table: through a link, by a gateway on it or none, or a blackhole. */
export interface NewRoute {
  readonly dst: Cidr;
  readonly via:
    | { readonly gateway: Address | undefined; readonly link: number; readonly onlink: boolean }
    | "blackhole";
  readonly protocol: number;
  /** Undefined for the usual one. */
  readonly metric: number | undefined;
}

/** Where the kernel sends packets to an address. */
export interface NextHop {
  readonly link: number;
  readonly gateway: Address | undefined;
}

/** The metric of a route that does not name one. */
export function usualMetric(family: Family): number {
  return family === 4 ? 0 : ipv6Metric;
}

/**
 * Makes a route.
 * @param replace whether it replaces a route with the same destination and metric. Otherwise the
 *   kernel refuses it if there is one (EEXIST).
 */
export function setRoute(route: NewRoute, replace: boolean): Message {
  const { via } = route;
  return routeMessage(Type.NEWROUTE, Flag.CREATE | (replace ? Flag.REPLACE : Flag.EXCL), {
    ...headerOf(route.dst),
    protocol: route.protocol,
    type: via === "blackhole" ? RTN_BLACKHOLE : RTN_UNICAST,
    routeFlags: via !== "blackhole" && via.onlink ? RTNH_F_ONLINK : 0,
    attrs: {
      ...destination(route.dst),
      ...(via === "blackhole" ? {} : { oif: via.link }),
      ...(via === "blackhole" || via.gateway === undefined
        ? {}
        : { gateway: rawAddress(via.gateway) }),
      ...(route.metric === undefined ? {} : { priority: route.metric }),
    },
  });
}

/** Deletes a route, and no other with the same destination. */
export function deleteRoute(route: TableRoute): Message {
  return routeMessage(Type.DELROUTE, 0, {
    ...headerOf(route.dst),
    protocol: route.protocol,
    // Otherwise the kernel looks for a route with that scope.
    scope: RT_SCOPE_NOWHERE,
    type: route.type === "blackhole" ? RTN_BLACKHOLE : RTN_UNICAST,
    attrs: {
      ...destination(route.dst),
      ...(route.gateway === undefined ? {} : { gateway: rawAddress(route.gateway) }),
      ...(route.link === 0 || route.type === "blackhole" ? {} : { oif: route.link }),
      priority: route.metric,
    },
  });
}

/** The routes of a family in the main table. @throws Failure kernel */
export function listMainRoutes(socket: NetlinkSocket, family: Family): TableRoute[] {
  return socket.list(mainRouteDump(family), readMainRoute);
}

/** The request for the routes of a family in the main table. */
export function mainRouteDump(family: Family): Message {
  return routeMessage(Type.GETROUTE, Flag.DUMP, {
    family: familyNumber(family),
    dstLen: 0,
    table: RT_TABLE_MAIN,
    protocol: 0,
    scope: 0,
    type: 0,
    attrs: { table: RT_TABLE_MAIN },
  });
}

/** Reads a route of the main table; undefined for one of another. */
export function readMainRoute({ body }: Received): TableRoute | undefined {
  const family = body.readUInt8(0);
  if ((family !== AF_INET && family !== AF_INET6) || body.readUInt8(4) !== RT_TABLE_MAIN) {
    return undefined;
  }
  const flags = readU32(body, 8);
  if ((flags & RTM_F_CLONED) !== 0) return undefined;
  const attrs = attributes(body, RTMSG);
  const number = (type: number): number => {
    const value = attrs.get(type);
    return value === undefined ? 0 : readU32(value, 0);
  };
  const dst = attrs.get(RTA.dst) ?? Buffer.alloc(family === AF_INET ? 4 : 16);
  const gateway = attrs.get(RTA.gateway);
  const type = body.readUInt8(7);
  const isBlackhole = type === RTN_BLACKHOLE;
  return {
    dst: { address: addressFromBytes(dst), prefix: body.readUInt8(1) },
    type: type === RTN_UNICAST ? "unicast" : isBlackhole ? "blackhole" : "other",
    gateway: gateway === undefined ? undefined : addressFromBytes(gateway),
    // In IPv6, a blackhole has the link lo.
    link: isBlackhole ? 0 : number(RTA.oif),
    onlink: (flags & RTNH_F_ONLINK) !== 0,
    protocol: body.readUInt8(5),
    metric: number(RTA.priority),
    multipath: attrs.has(RTA.multipath),
  };
}

/**
 * Where the kernel sends packets to each address; undefined if it has no route. At most 100 at a
 * time.
 * @throws Failure kernel
 */
export function nextHops(
  socket: NetlinkSocket,
  addresses: readonly Address[],
): (NextHop | undefined)[] {
  return socket
    .transact(addresses.map((address) => routeRequest(address)))
    .map(({ errno, received }) => {
      const [found] = errno === 0 ? received : [];
      return found === undefined ? undefined : understood("a route", () => readNextHop(found));
    });
}

function readNextHop({ body }: Received): NextHop | undefined {
  const attrs = attributes(body, RTMSG);
  const oif = attrs.get(RTA.oif);
  if (body.readUInt8(7) !== RTN_UNICAST || oif === undefined) return undefined;
  const gateway = attrs.get(RTA.gateway);
  return {
    link: readU32(oif, 0),
    gateway: gateway === undefined ? undefined : addressFromBytes(gateway),
  };
}

function headerOf(dst: Cidr) {
  return {
    family: familyNumber(dst.address.family),
    dstLen: dst.prefix,
    table: RT_TABLE_MAIN,
    scope: RT_SCOPE_UNIVERSE,
  };
}

function destination({ address, prefix }: Cidr): { dst?: Buffer } {
  return prefix === 0 ? {} : { dst: rawAddress(address) };
}

function familyNumber(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6;
}

function rawAddress(address: Address): Buffer {
  return Buffer.from(addressBytes(address));
}

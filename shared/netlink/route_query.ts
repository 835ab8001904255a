import { addressBytes, addressFromBytes, widthOf } from "../net/address.ts";
import type { Address } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";
import { attributes, Flag, readS32, readU16, readU32, routeMessage, Type, u32 } from "./codec.ts";
import type { Message, Received } from "./codec.ts";
import { linkMessage } from "./link_codec.ts";
import { readLink, RTEXT_FILTER_SKIP_STATS } from "./query.ts";
import { understood } from "./socket.ts";
import type { NetlinkSocket } from "./socket.ts";

const AF_UNSPEC = 0;
const AF_INET = 2;
const AF_INET6 = 10;

export interface Route {
  readonly dst: Cidr;
  readonly gw: Address | undefined;
  /** Indexes of the links it leads through: several for one with several next hops. */
  readonly links: readonly number[];
  readonly table: number;
  /** Whether a router advertisement made it. */
  readonly isAdvertised: boolean;
}

/**
 * Asks for the route that the kernel takes to an address.
 * @param oif index of the link that it has to leave by, if that matters.
 */
export function routeRequest(to: Address, oif?: number): Message {
  return routeMessage(Type.GETROUTE, 0, {
    family: to.family === 4 ? AF_INET : AF_INET6,
    dstLen: widthOf(to.family),
    table: 0,
    protocol: 0,
    scope: 0,
    type: 0,
    attrs: { dst: Buffer.from(addressBytes(to)), ...(oif === undefined ? {} : { oif }) },
  });
}

/** The name of the link that packets to an address leave by. @throws Failure kernel */
export function linkTo(socket: NetlinkSocket, address: Address): string | undefined {
  const RTA_OIF = 4;
  const RTMSG = 12;
  const [route] = socket.transact([routeRequest(address)]);
  const [found] = route?.errno === 0 ? route.received : [];
  const oif = found === undefined ? undefined : attributes(found.body, RTMSG).get(RTA_OIF);
  if (oif === undefined) return undefined;
  const [link] = socket.transact([
    linkMessage(Type.GETLINK, 0, {
      index: readU32(oif, 0),
      attrs: { extMask: u32(RTEXT_FILTER_SKIP_STATS) },
    }),
  ]);
  const [described] = link?.errno === 0 ? link.received : [];
  return described === undefined ? undefined : readLink(described).name;
}

/**
 * Which of some IPv6 addresses of a link the kernel does not take packets for yet: it has no local
 * route to them. It makes that route a little later than the address, in a work queue.
 * @throws Failure kernel
 */
export function withoutLocalRoute(
  socket: NetlinkSocket,
  index: number,
  addresses: readonly Address[],
): Address[] {
  const RTN_LOCAL = 2;
  // With its link: a link in a VRF has its routes in another table.
  const replies = socket.transact(addresses.map((address) => routeRequest(address, index)));
  return addresses.filter((_, at) => {
    const found = replies[at]?.errno === 0 ? replies[at].received[0] : undefined;
    return found?.body.readUInt8(7) !== RTN_LOCAL;
  });
}

/** The unicast routes of every table. @throws Failure kernel */
export function listRoutes(socket: NetlinkSocket): Route[] {
  const request = routeMessage(Type.GETROUTE, Flag.DUMP, {
    family: AF_UNSPEC,
    dstLen: 0,
    table: 0,
    protocol: 0,
    scope: 0,
    type: 0,
    attrs: {},
  });
  const found = socket.dump(request);
  return understood("its routes", () => found.flatMap((message) => readRoute(message) ?? []));
}

function readRoute({ body }: Received): Route | undefined {
  const RTA = { dst: 1, oif: 4, gateway: 5, multipath: 9, table: 15 };
  const RTN_UNICAST = 1;
  const RTPROT_RA = 9;
  const family = body.readUInt8(0);
  if ((family !== AF_INET && family !== AF_INET6) || body.readUInt8(7) !== RTN_UNICAST) {
    return undefined;
  }
  const attrs = attributes(body, 12);
  const gw = attrs.get(RTA.gateway);
  const table = attrs.get(RTA.table);
  const oif = attrs.get(RTA.oif);
  const dst = attrs.get(RTA.dst) ?? Buffer.alloc(family === AF_INET ? 4 : 16);
  return {
    dst: { address: addressFromBytes(dst), prefix: body.readUInt8(1) },
    gw: gw === undefined ? undefined : addressFromBytes(gw),
    links: [
      ...(oif === undefined ? [] : [readU32(oif, 0)]),
      ...nextHopLinks(attrs.get(RTA.multipath) ?? Buffer.alloc(0)),
    ],
    table: table === undefined ? body.readUInt8(4) : readU32(table, 0),
    isAdvertised: body.readUInt8(5) === RTPROT_RA,
  };
}

/** The links of a route's next hops: struct rtnexthop, of varying length. */
function nextHopLinks(hops: Buffer): number[] {
  const header = 8;
  const links: number[] = [];
  for (let at = 0; at + header <= hops.length; ) {
    links.push(readS32(hops, at + 4));
    at += Math.max((readU16(hops, at) + 3) & ~3, header);
  }
  return links;
}

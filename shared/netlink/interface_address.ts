import { addressFromBytes } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";
import { addressMessage, attributes, Flag, readU32, Type } from "./codec.ts";
import type { Received } from "./codec.ts";
import { routeRequest } from "./route_query.ts";
import { understood } from "./socket.ts";
import type { NetlinkSocket } from "./socket.ts";

/** An address of an interface, with what decides whether peers can use it. */
export interface InterfaceAddress {
  /** Index of the link. */
  readonly link: number;
  readonly address: Cidr;
  readonly isGlobal: boolean;
  /** Neither from a router advertisement nor with a limited lifetime. */
  readonly isPermanent: boolean;
  /** A temporary address, made for privacy. */
  readonly isTemporary: boolean;
  readonly isDeprecated: boolean;
  /** Still tentative, or another host has it. */
  readonly isTentative: boolean;
}

/** The way to an address. */
export interface RouteSource {
  readonly link: number;
  /** The own address that packets are sent from. */
  readonly source: Address | undefined;
}

const AF_UNSPEC = 0;
const AF_INET = 2;
const AF_INET6 = 10;
const RT_SCOPE_UNIVERSE = 0;

/**
 * The addresses of all interfaces, as the kernel lists them.
 * @param family of both unless told.
 * @throws Failure kernel
 */
export function listInterfaceAddresses(socket: NetlinkSocket, family?: Family): InterfaceAddress[] {
  const found = socket.dump(
    addressMessage(Type.GETADDR, Flag.DUMP, {
      family: family === undefined ? AF_UNSPEC : family === 4 ? AF_INET : AF_INET6,
      prefixlen: 0,
      scope: 0,
      index: 0,
      attrs: {},
    }),
  );
  return understood("the addresses", () => found.flatMap((message) => readAddress(message) ?? []));
}

function readAddress({ body }: Received): InterfaceAddress | undefined {
  const IFA = { address: 1, local: 2, flags: 8 };
  const FLAG = {
    temporary: 0x01,
    dadFailed: 0x08,
    deprecated: 0x20,
    tentative: 0x40,
    permanent: 0x80,
  };
  const family = body.readUInt8(0);
  const attrs = attributes(body, 8);
  const raw = attrs.get(IFA.local) ?? attrs.get(IFA.address);
  if (raw === undefined || (family !== AF_INET && family !== AF_INET6)) return undefined;
  const flags = attrs.get(IFA.flags);
  const bits = flags === undefined ? body.readUInt8(2) : readU32(flags, 0);
  return {
    link: readU32(body, 4),
    address: { address: addressFromBytes(raw), prefix: body.readUInt8(1) },
    isGlobal: body.readUInt8(3) === RT_SCOPE_UNIVERSE,
    isPermanent: (bits & FLAG.permanent) !== 0,
    // For an IPv4 address, the same bit means that it is a secondary one.
    isTemporary: family === AF_INET6 && (bits & FLAG.temporary) !== 0,
    isDeprecated: (bits & FLAG.deprecated) !== 0,
    isTentative: (bits & (FLAG.tentative | FLAG.dadFailed)) !== 0,
  };
}

/** The route that the kernel takes to an address; undefined if there is none. @throws Failure kernel */
export function routeSource(socket: NetlinkSocket, to: Address): RouteSource | undefined {
  const RTA = { oif: 4, prefsrc: 7 };
  const [reply] = socket.transact([routeRequest(to)]);
  const [found] = reply?.errno === 0 ? reply.received : [];
  if (found === undefined) return undefined;
  return understood("a route", () => {
    const attrs = attributes(found.body, 12);
    const [oif, source] = [attrs.get(RTA.oif), attrs.get(RTA.prefsrc)];
    if (oif === undefined) return undefined;
    const address = source === undefined ? undefined : addressFromBytes(source);
    return { link: readU32(oif, 0), source: address };
  });
}

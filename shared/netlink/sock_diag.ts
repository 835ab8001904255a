import { addressFromBytes } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import type { Sys } from "../runtime/sys.ts";
import { attributes, readU32 } from "./codec.ts";
import type { Message } from "./codec.ts";
import { NetlinkSocket, openNetlink } from "./socket.ts";

/**
 * The kernel's sockets (linux/inet_diag.h). Asked for a port, the kernel searches only the tables of
 * listening sockets, however many connections there are.
 */
const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const AF_INET = 2;
const AF_INET6 = 10;
/** Bytes of struct inet_diag_req_v2, and where its parts are. */
const requestBytes = 56;
const statesAt = 4;
const portAt = 8;
const anyPort = 0;
const cookieAt = 48;
/** INET_DIAG_NOCOOKIE, twice: no particular socket. */
const anyCookie = Buffer.alloc(8, 0xff);
/** Bytes of struct inet_diag_msg, and where its parts are. */
const answerBytes = 72;
const answerPortAt = 4;
const addressAt = 8;
const inodeAt = 68;
const INET_DIAG_SKV6ONLY = 11;

/** The numbers of TCP and UDP, and the state of a socket that takes what nobody else is connected for. */
const protocols = {
  tcp: { number: 6, state: 10 },
  udp: { number: 17, state: 7 },
} as const;

/** A socket of a family that waits for packets to a port. */
export interface BoundSocket {
  readonly family: Family;
  readonly address: Address;
  /** Whether an IPv6 socket takes no IPv4 packets. */
  readonly isIPv6Only: boolean;
  readonly inode: number;
}

/** A socket to ask for sockets. @throws Failure kernel */
export function sockDiagSocket(sys: Sys): NetlinkSocket {
  return new NetlinkSocket(sys, openNetlink(sys, NETLINK_SOCK_DIAG));
}

/** The sockets of both families that wait for packets to a port. @throws Failure kernel */
export function listBoundSockets(
  socket: NetlinkSocket,
  protocol: keyof typeof protocols,
  port: number,
): BoundSocket[] {
  return [AF_INET, AF_INET6].flatMap((family) =>
    socket.list(requestFor(family, protocol, port), ({ body }) => readSocket(body, family)),
  );
}

/** The ports to which any socket waits for packets. @throws Failure kernel */
export function listBoundPorts(
  socket: NetlinkSocket,
  protocol: keyof typeof protocols,
): Set<number> {
  return new Set(
    [AF_INET, AF_INET6].flatMap((family) =>
      socket.list(requestFor(family, protocol, anyPort), ({ body }) =>
        body.readUInt16BE(answerPortAt),
      ),
    ),
  );
}

function requestFor(family: number, protocol: keyof typeof protocols, port: number): Message {
  const { number, state } = protocols[protocol];
  const body = Buffer.alloc(requestBytes);
  body[0] = family;
  body[1] = number;
  body.writeUInt32LE(2 ** state, statesAt);
  body.writeUInt16BE(port, portAt);
  anyCookie.copy(body, cookieAt);
  return { type: SOCK_DIAG_BY_FAMILY, flags: 0, body };
}

function readSocket(answer: Buffer, family: number): BoundSocket {
  const length = family === AF_INET ? 4 : 16;
  return {
    family: family === AF_INET ? 4 : 6,
    address: addressFromBytes(answer.subarray(addressAt, addressAt + length)),
    isIPv6Only: attributes(answer, answerBytes).get(INET_DIAG_SKV6ONLY)?.[0] === 1,
    inode: readU32(answer, inodeAt),
  };
}

import type { Sys } from "../runtime/sys.ts";
import { attributes, nested, readU16 } from "./codec.ts";
import type { Message } from "./codec.ts";
import { check, errnoText, NetlinkSocket, openNetlink, understood } from "./socket.ts";

/** Generic netlink (linux/genetlink.h): each family of messages has a name, and a number of its own. */

const NETLINK_GENERIC = 16;
const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_VERSION = 1;
const CTRL_ATTR = { familyId: 1, familyName: 2 } as const;
const ENOENT = 2;

/** Bytes of struct genlmsghdr. */
export const genlHeaderBytes = 4;

/** In the network namespace that the thread is in. @throws Failure kernel */
export function genlSocket(sys: Sys): NetlinkSocket {
  return new NetlinkSocket(sys, openNetlink(sys, NETLINK_GENERIC));
}

/** A message of a family. */
export function genlMessage(
  family: number,
  { command, version }: { readonly command: number; readonly version: number },
  flags: number,
  attrs: readonly Uint8Array[],
): Message {
  const header = Buffer.of(command, version, 0, 0);
  return { type: family, flags, body: Buffer.concat([header, ...attrs]) };
}

/** A request for the number of a family. */
export function familyRequest(name: string): Message {
  const get = { command: CTRL_CMD_GETFAMILY, version: CTRL_VERSION };
  const text = Buffer.from(`${name}\0`);
  return genlMessage(GENL_ID_CTRL, get, 0, [nested(CTRL_ATTR.familyName, text, false)]);
}

/** The number in the answer to {@link familyRequest}. @throws RangeError for no such answer */
export function readFamilyId(body: Buffer): number {
  const id = attributes(body, genlHeaderBytes).get(CTRL_ATTR.familyId);
  if (id === undefined) throw new RangeError("a family without a number");
  return readU16(id, 0);
}

/**
 * The number of a family; undefined if the kernel does not have it. The kernel loads the module of one
 * that it lacks, where it can.
 * @throws Failure kernel
 */
export function findFamily(socket: NetlinkSocket, name: string): number | undefined {
  const [reply] = socket.transact([familyRequest(name)]);
  if (reply === undefined || reply.errno === ENOENT) return undefined;
  check(-reply.errno, `look for the netlink family ${name} (${errnoText(reply.errno)})`);
  const [answer] = reply.received;
  return answer === undefined
    ? undefined
    : understood("a netlink family", () => readFamilyId(answer.body));
}

/** A kernel that refuses one netlink request: it is not sent, but answered with an errno. */
import type { LastingSys } from "../../shared/runtime/sys.ts";

const NLMSG_HEADER = 16;
const NLMSG_ERROR = 2;
const MSG_PEEK = 2;
const NFNL_MSG_BATCH_BEGIN = 0x10;

/** The answers to receive on a socket, after `after` others. */
interface Pending {
  readonly fd: number;
  readonly datagrams: Buffer[];
  after: number;
}

/**
 * @param fault `number:errno`: the request's number among all of a call, from 1. Any other text refuses
 *   nothing, and prints the number of requests on stderr at the end.
 */
export function withFault(sys: LastingSys, fault: string): LastingSys {
  const [wanted, errno] = fault.split(":").map(Number);
  let count = 0;
  let pending: Pending | undefined;
  return {
    ...sys,
    send(fd, data, flags) {
      const messages = split(Buffer.from(data));
      if (typeOf(messages[0]) === NFNL_MSG_BATCH_BEGIN) {
        // The kernel makes all changes of a batch or none, and answers the last one anyway.
        const changes = messages.slice(1, -1);
        const refused = changes[(wanted ?? 0) - count - 1];
        count += changes.length;
        const last = changes.at(-1);
        if (refused === undefined || last === undefined) return sys.send(fd, data, flags);
        const answers = [refusal(refused, errno ?? 0)];
        if (refused !== last) answers.push(refusal(last, 0));
        pending = { fd, datagrams: answers, after: 0 };
        return data.length;
      }
      const kept: Buffer[] = [];
      for (const message of messages) {
        if (++count !== wanted) kept.push(message);
        else pending = { fd, datagrams: [refusal(message, errno ?? 0)], after: kept.length };
      }
      if (kept.length === messages.length) return sys.send(fd, data, flags);
      return kept.length === 0 ? data.length : sys.send(fd, Buffer.concat(kept), flags);
    },
    recv(fd, into, flags) {
      // Who peeks receives nothing, and may have room for a byte alone.
      if ((flags & MSG_PEEK) !== 0) return sys.recv(fd, into, flags);
      if (pending?.fd === fd && pending.after === 0) {
        const datagram = pending.datagrams.shift();
        if (pending.datagrams.length === 0) pending = undefined;
        into.set(datagram ?? []);
        return datagram?.length ?? 0;
      }
      const got = sys.recv(fd, into, flags);
      const isAnswer =
        got > 0 && Buffer.from(into.subarray(0, got)).readUInt16LE(4) === NLMSG_ERROR;
      if (pending?.fd === fd && isAnswer) pending.after--;
      return got;
    },
    exit(code) {
      if (fault === "count") sys.write(2, `requests: ${String(count)}\n`);
      return sys.exit(code);
    },
  };
}

/** The messages of a datagram, each with its padding. */
function split(datagram: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at + NLMSG_HEADER <= datagram.length; ) {
    const length = (datagram.readUInt32LE(at) + 3) & ~3;
    messages.push(datagram.subarray(at, at + length));
    at += length;
  }
  return messages;
}

function typeOf(message: Buffer | undefined): number | undefined {
  return message?.readUInt16LE(4);
}

/** struct nlmsgerr: the errno, and the header of the request. */
function refusal(message: Buffer, errno: number): Buffer {
  const answer = Buffer.alloc(NLMSG_HEADER + 4 + NLMSG_HEADER);
  answer.writeUInt32LE(answer.length, 0);
  answer.writeUInt16LE(NLMSG_ERROR, 4);
  answer.writeUInt32LE(message.readUInt32LE(8), 8);
  answer.writeInt32LE(-errno, NLMSG_HEADER);
  message.copy(answer, NLMSG_HEADER + 4, 0, NLMSG_HEADER);
  return answer;
}

import type { Sys } from "../runtime/sys.ts";
import type { Message } from "./codec.ts";
import { NetlinkSocket } from "./socket.ts";
import type { Reply } from "./socket.ts";

/**
 * Deletes a link without waiting until the kernel has freed it.
 *
 * The kernel first stops both ends, and takes them off the bridge and out of the namespaces, with their
 * addresses and routes. Then, without any lock, it waits 10 to 20 ms for RCU before it frees their memory
 * and acknowledges the request. After the first part the link is gone for everybody, and nothing can keep
 * the kernel from the second: not even the end of this process.
 */
const MSG_DONTWAIT = 0x40;
const EAGAIN = 11;
/** Milliseconds for the kernel, as for any other request. */
const timeout = 10_000;
/** Milliseconds between two looks. The look itself waits for the kernel's lock of links. */
const pause = 0.1;

/** What is deleted, and how its namespace is reached. */
export interface Removal {
  /** RTM_DELLINK. */
  readonly message: Message;
  readonly isThere: () => boolean;
  /** Runs what must run with the thread inside the namespace. */
  readonly inside: <T>(action: () => T) => T;
  /** Blocks this thread. @param time milliseconds. */
  readonly sleep: (time: number) => void;
}

/**
 * Sends from a thread or process of its own, for as long as the kernel takes, while this one goes on.
 * @returns false if nothing is sent.
 */
export type SendAside = (fd: number, data: Uint8Array) => boolean;

/** Deletes a link, and returns when it is gone. @throws Failure kernel */
export type RemoveLink = (sys: Sys, removal: Removal) => Reply;

/** Ends the wait for the acknowledgement. */
class Gone extends Error {}

/** @returns the kernel's reply, or the one that it will give for a link that is gone already. */
export function removeLink(
  sendAside: SendAside,
  sys: Sys,
  { message, isThere, inside, sleep }: Removal,
): Reply {
  const end = performance.now() + timeout;
  const early: Sys = {
    ...sys,
    send: (fd, data, flags) => (sendAside(fd, data) ? data.length : sys.send(fd, data, flags)),
    recv(fd, into, flags) {
      for (;;) {
        const got = sys.recv(fd, into, flags | MSG_DONTWAIT);
        if (got !== -EAGAIN || performance.now() > end) return got;
        // It was there when the request was made.
        sleep(pause);
        if (!isThere()) throw new Gone();
      }
    },
  };
  const socket = inside(() => new NetlinkSocket(early));
  try {
    const [reply] = socket.transact([message]);
    return reply ?? done;
  } catch (error) {
    if (error instanceof Gone) return done;
    throw error;
  } finally {
    socket.close();
  }
}

const done: Reply = { errno: 0, text: "", received: [] };

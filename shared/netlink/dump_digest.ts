import { closeSync } from "node:fs";

import type { Sys } from "../runtime/sys.ts";
import { Flag, frame, readU32, Type } from "./codec.ts";
import type { Message } from "./codec.ts";
import { bufferBytes, MSG_TRUNC, NLMSG_DONE, NLMSG_ERROR, openNetlink } from "./socket.ts";

/** 32-bit words of a message's header, and of a header and a struct rtmsg or ndmsg. */
const [header, fixed] = [4, 7];
/** The attribute with an entry's age, by the message's type: NDA_CACHEINFO and RTA_CACHEINFO. */
const ages: ReadonlyMap<number, number> = new Map([
  [Type.NEWNEIGH, 3],
  [Type.NEWROUTE, 12],
]);

/** Tells whether dumps of neighbours and routes are as they were, without reading thousands of entries. */
export class DumpDigest implements Disposable {
  readonly #sys: Sys;
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafeSlow(bufferBytes);
  #seq = 1;

  /** In the network namespace that the thread is in. @throws Failure kernel */
  constructor(sys: Sys) {
    this.#sys = sys;
    this.#fd = openNetlink(sys);
  }

  /**
   * @param message a GET of neighbours, forwarding entries or routes.
   * @returns the same text as before only if the dump tells the same, whatever the entries' ages;
   *   undefined if the kernel refuses, or if something has changed meanwhile.
   */
  digest(message: Message): string | undefined {
    const seq = this.#seq++;
    const flags = message.flags | Flag.REQUEST | Flag.DUMP;
    if (this.#sys.send(this.#fd, frame({ ...message, flags }, seq), 0) < 0) return undefined;
    const parts: string[] = [];
    let flagsSeen = 0;
    for (;;) {
      const got = this.#sys.recv(this.#fd, this.#buffer, MSG_TRUNC);
      if (got < 0 || got > bufferBytes) return undefined;
      const datagram = this.#buffer.subarray(0, got);
      // What is left of a dump that was given up.
      if (got < header * 4 || readU32(datagram, 8) !== seq) continue;
      const { last, flags: more } = blankAges(datagram);
      if (last === NLMSG_ERROR) return undefined;
      flagsSeen |= more;
      parts.push(this.#sys.sha512(datagram));
      if (last === NLMSG_DONE) break;
    }
    return (flagsSeen & Flag.DUMP_INTR) === 0 ? parts.join(" ") : undefined;
  }

  close(): void {
    closeSync(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Blanks in place what is another in each dump: the sequence numbers, and the entries' ages.
 * @returns the last message's type, and all flags.
 */
function blankAges(datagram: Buffer): { readonly last: number; readonly flags: number } {
  const words = new Int32Array(datagram.buffer, datagram.byteOffset, datagram.length >> 2);
  let [last, flags] = [0, 0];
  for (let at = 0; at + header <= words.length; ) {
    const length = Math.max(wordsOf(words[at] ?? 0), header);
    const typeAndFlags = words[at + 1] ?? 0;
    last = typeAndFlags & 0xffff;
    flags |= typeAndFlags >>> 16;
    words[at + 2] = 0;
    const age = ages.get(last);
    if (age !== undefined) blankAttribute(words, at + fixed, at + length, age);
    at += length;
  }
  return { last, flags };
}

function blankAttribute(words: Int32Array, from: number, end: number, type: number): void {
  for (let at = from; at < end; ) {
    const lengthAndType = words[at] ?? 0;
    const next = at + Math.max(wordsOf(lengthAndType & 0xffff), 1);
    if (lengthAndType >>> 16 === type) words.fill(0, at + 1, Math.min(next, end));
    at = next;
  }
}

/** How many 32-bit words so many bytes take, padding included. */
function wordsOf(bytes: number): number {
  return (bytes + 3) >> 2;
}

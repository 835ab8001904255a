import { closeSync } from "node:fs";
import { POLLOUT } from "../runtime/system_calls.ts";
import type { SystemCalls } from "../runtime/system_calls.ts";
import type { Sys } from "../runtime/sys.ts";
import { decodeRequest, requestLength, Word } from "./protocol.ts";
import type { AgentRequest } from "./protocol.ts";
import { MSG_DONTWAIT, MSG_NOSIGNAL } from "../runtime/socket_constants.ts";

const EAGAIN = 11;
/** Descriptors of a call: stderr, and the namespace. */
const mostPassed = 2;
/** More bytes than the header of a request has. */
const headBytes = 64;
/** Milliseconds that a client may take to read its answer, or the next part of it. */
const answerTimeout = 1000;

/** What comes next on a connection: the rest of the request, `accept`, or nothing. */
type Phase = "asking" | "offered" | "accepted";

/** Reused by every read. */
const scratch = Buffer.allocUnsafeSlow(65_536);

/** A client's connection, from its request to its answer. It owns the descriptors that came by it. */
export class Connection {
  readonly fd: number;
  readonly #sys: Sys;
  readonly #system: SystemCalls;
  readonly #parts: Buffer[] = [];
  readonly #passed: number[] = [];
  #length = 0;
  #phase: Phase = "asking";
  #since = performance.now();
  #request: AgentRequest | undefined;

  constructor(sys: Sys, system: SystemCalls, fd: number) {
    this.#sys = sys;
    this.#system = system;
    this.fd = fd;
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** When its phase began, by performance.now(). */
  get since(): number {
    return this.#since;
  }

  /** The request, once it is whole. */
  get request(): AgentRequest | undefined {
    return this.#request;
  }

  /** The client's stderr. */
  get stderr(): number | undefined {
    return this.#passed[0];
  }

  /** The namespace at CNI_NETNS. */
  get netns(): number | undefined {
    return this.#passed[1];
  }

  /**
   * Reads what is there.
   * @returns false if the client has left, or says what none would.
   */
  read(): boolean {
    for (;;) {
      const { length, fds } = this.#system.receive(this.fd, scratch, mostPassed);
      this.#passed.push(...fds);
      if (length === -EAGAIN) return true;
      if (length <= 0 || this.#passed.length > mostPassed) return false;
      if (!this.#take(scratch.subarray(0, length))) return false;
    }
  }

  #take(bytes: Buffer): boolean {
    if (this.#phase === "asking") return this.#request === undefined && this.#collect(bytes);
    const isAccept = this.#phase === "offered" && bytes.length === 1 && bytes[0] === Word.accept;
    if (isAccept) this.#enter("accepted");
    return isAccept;
  }

  /** @returns false for what is no request, or is followed by more. */
  #collect(bytes: Buffer): boolean {
    // The scratch buffer is overwritten by the next read.
    this.#parts.push(Buffer.from(bytes));
    this.#length += bytes.length;
    try {
      const whole = requestLength(this.#head());
      if (whole === undefined || this.#length < whole) return true;
      this.#request = decodeRequest(this.#join());
      return true;
    } catch {
      return false;
    }
  }

  /** The first bytes: enough to tell the request's length, if so many have come. */
  #head(): Buffer {
    const [first = scratch] = this.#parts;
    return this.#parts.length > 1 && first.length < headBytes ? this.#join() : first;
  }

  #join(): Buffer {
    const joined = Buffer.concat(this.#parts);
    this.#parts.splice(0, this.#parts.length, joined);
    return joined;
  }

  /** Offers to make the call. @returns false if the client has left. */
  offer(): boolean {
    this.#enter("offered");
    return this.#say(Word.offer);
  }

  /** Says that the call begins. @returns false if the client has left. */
  begin(): boolean {
    return this.#say(Word.begin);
  }

  /** Tells the client to do it itself. */
  decline(): void {
    this.#say(Word.decline);
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#since = performance.now();
  }

  #say(word: number): boolean {
    return this.#sys.send(this.fd, Buffer.of(word), MSG_DONTWAIT | MSG_NOSIGNAL) === 1;
  }

  /** Sends all of an answer. Throws if the client has left, or does not read. */
  send(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const sent = this.#sys.send(this.fd, bytes.subarray(at), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) at += sent;
      else if (sent !== -EAGAIN || !isWritable(this.#system, this.fd, answerTimeout)) {
        throw new Error("the client does not read its answer");
      }
    }
  }

  close(): void {
    closeSync(this.fd);
    for (const fd of this.#passed.splice(0)) closeSync(fd);
  }
}

/** Waits until a descriptor takes bytes. @param timeout milliseconds. */
export function isWritable(system: SystemCalls, fd: number, timeout: number): boolean {
  const [events = 0] = system.wait([{ fd, events: POLLOUT }], timeout);
  return (events & POLLOUT) !== 0;
}

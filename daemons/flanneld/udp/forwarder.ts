import { closeSync } from "node:fs";
import { messageOf } from "../../../shared/base/failure.ts";
import type { PacketCalls } from "../../../shared/runtime/packet_calls.ts";
import type { LastingSys } from "../../../shared/runtime/sys.ts";
import type { SystemCalls } from "../../../shared/runtime/system_calls.ts";
import { errnoText } from "../../../shared/netlink/socket.ts";
import { attachTun } from "../../../shared/node/tun.ts";
import { portErrnoText } from "../port_errno.ts";
import { Batch, batchPackets } from "./batch.ts";
import { ForwardingTable, masked } from "./forwarding_table.ts";
import { messageBytes } from "./messages.ts";
import type { ForwarderMessage, ForwarderReport } from "./messages.ts";
import { destinationOf, IcmpError, isPacket, lowerTtl, sourceOf, writeError } from "./packet.ts";

const [AF_INET, SOCK_DGRAM_CLOEXEC, SOL_SOCKET, SO_RCVBUFFORCE] = [2, 2 | 0o2000000, 1, 33];
const [EAGAIN, MSG_DONTWAIT, MSG_NOSIGNAL, POLLIN] = [11, 0x40, 0x4000, 1];
/** Bytes that wait for this thread at most; what comes beyond is lost. */
const receiveBytes = 4 * 1024 * 1024;
/** Milliseconds between two attempts at what cannot be opened yet. */
const pause = 100;
/** ICMP errors in a second at most. */
const mostErrors = 100;
const [control, tun, socket] = [0, 1, 2];

type Node = NonNullable<ForwarderMessage["node"]>;

/**
 * The thread of the udp backend: takes packets from the tun device and sends them to the nodes that have
 * their destinations, and the other way around. What it has no room for is lost; nothing waits.
 */
export class Forwarder {
  readonly #sys: LastingSys;
  readonly #system: SystemCalls;
  readonly #calls: PacketCalls;
  readonly #out: Batch;
  readonly #in: Batch;
  readonly #table = new ForwardingTable();
  readonly #error = Buffer.allocUnsafeSlow(128);
  readonly #polled = Buffer.alloc(3 * 8);
  readonly #fds: number[];
  #node: Node | undefined;
  #reported: string | undefined = "";
  #errorsSince = 0;
  #errors = 0;

  /** @param fd of the socket to the daemon. */
  constructor(sys: LastingSys, system: SystemCalls, calls: PacketCalls, fd: number) {
    this.#sys = sys;
    this.#system = system;
    this.#calls = calls;
    this.#out = new Batch(calls);
    this.#in = new Batch(calls);
    this.#fds = [fd, -1, -1];
  }

  /** Runs until the daemon closes its end. */
  run(): void {
    for (let isOpen = true; isOpen; ) {
      // The daemon hangs up before it deletes the device, which must not be made anew then.
      if (this.#fdOf(tun) < 0 && !this.#obey()) return;
      this.#open();
      const isWaiting = this.#node !== undefined && this.#fds.includes(-1);
      const ready = this.#wait(isWaiting ? pause : -1);
      if (ready(control)) isOpen = this.#obey();
      if (ready(tun)) this.#sendOut();
      if (ready(socket)) this.#takeIn();
    }
  }

  #wait(timeout: number): (which: number) => boolean {
    for (const [at, fd] of this.#fds.entries()) {
      this.#polled.writeInt32LE(fd, at * 8);
      this.#polled.writeInt16LE(POLLIN, at * 8 + 4);
      this.#polled.writeInt16LE(0, at * 8 + 6);
    }
    this.#calls.wait(this.#calls.addressOf(this.#polled), this.#fds.length, timeout);
    return (which) => this.#polled.readInt16LE(which * 8 + 6) !== 0;
  }

  /** Opens what is not open. */
  #open(): void {
    const node = this.#node;
    if (node === undefined) return;
    let problem: string | undefined;
    try {
      if (this.#fdOf(tun) < 0) this.#fds[tun] = attachTun(this.#system, node.device);
      if (this.#fdOf(socket) < 0) this.#fds[socket] = this.#bind(node);
    } catch (error) {
      problem = messageOf(error);
    }
    if (problem === this.#reported) return;
    this.#reported = problem;
    const report: ForwarderReport = problem === undefined ? {} : { problem };
    this.#sys.send(this.#fdOf(control), Buffer.from(JSON.stringify(report)), MSG_NOSIGNAL);
  }

  #bind({ address, port }: Node): number {
    const fd = this.#sys.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0);
    if (fd < 0) throw new Error(`Cannot open a UDP socket: the kernel says ${errnoText(-fd)}.`);
    const size = Buffer.alloc(4);
    size.writeInt32LE(receiveBytes);
    this.#sys.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, size);
    const name = Buffer.alloc(16);
    name.writeUInt16LE(AF_INET, 0);
    name.writeUInt16BE(port, 2);
    name.writeUInt32BE(address, 4);
    const bound = this.#sys.bind(fd, name);
    if (bound === 0) return fd;
    closeSync(fd);
    throw new Error(
      `Cannot listen on UDP port ${port}: the kernel says ${portErrnoText(-bound)}. Stop what has the port, or set Backend.Port in net-conf.json on all nodes.`,
    );
  }

  /** @returns false once the daemon is gone. */
  #obey(): boolean {
    const bytes = Buffer.allocUnsafeSlow(messageBytes);
    for (;;) {
      const length = this.#sys.recv(this.#fdOf(control), bytes, MSG_DONTWAIT);
      if (length === -EAGAIN) return true;
      if (length <= 0) return false;
      const message = JSON.parse(bytes.toString("utf8", 0, length)) as ForwarderMessage;
      for (const [subnet, prefix] of message.delete ?? []) this.#table.delete(subnet, prefix);
      for (const target of message.set ?? []) this.#table.set(target);
      if (message.node !== undefined) this.#become(message.node);
    }
  }

  #become(node: Node): void {
    const before = this.#node;
    this.#node = node;
    if (before?.device !== node.device) this.#close(tun);
    if (before?.address !== node.address || before.port !== node.port) this.#close(socket);
  }

  #sendOut(): void {
    const { bytes } = this.#out;
    let count = 0;
    while (count < batchPackets) {
      const length = this.#out.read(this.#fdOf(tun), count);
      if (length < 0) {
        // The device has been deleted, and is made anew.
        if (length !== -EAGAIN) this.#close(tun);
        break;
      }
      const at = this.#out.offset(count);
      if (!isPacket(bytes, at, length)) continue;
      const destination = destinationOf(bytes, at);
      const to = this.#table.find(destination);
      if (to === undefined) this.#refuse(bytes, at, IcmpError.unreachable, destination);
      else if (!lowerTtl(bytes, at)) {
        const subnet = masked(destination, this.#node?.prefix ?? 32);
        this.#refuse(bytes, at, IcmpError.timeExceeded, subnet);
      } else this.#out.address(count++, length, to, this.#node?.port ?? 0);
    }
    if (count > 0) this.#out.send(this.#fdOf(socket), count);
  }

  #takeIn(): void {
    const { bytes } = this.#in;
    const count = this.#in.receive(this.#fdOf(socket));
    if (count < 0) {
      // An error that the network has told of is taken off by being told.
      return;
    }
    for (let slot = 0; slot < count; slot++) {
      const [at, length] = [this.#in.offset(slot), this.#in.lengthOf(slot)];
      // Nothing but packets for this node's pods: others would have this node forward for strangers.
      if (!isPacket(bytes, at, length) || !this.#isOwn(destinationOf(bytes, at))) continue;
      if (this.#isOwn(sourceOf(bytes, at)) || this.#isPod(this.#in.senderOf(slot))) continue;
      if (lowerTtl(bytes, at)) this.#in.write(this.#fdOf(tun), slot, length);
      else this.#sendBack(bytes, at);
    }
  }

  #isOwn(address: number): boolean {
    const { subnet = 0, prefix = 32 } = this.#node ?? {};
    return masked(address, prefix) === subnet;
  }

  /** Nodes send packets, and no pod: it could name any source. */
  #isPod(address: number): boolean {
    return this.#isOwn(address) || this.#table.find(address) !== undefined;
  }

  /**
   * Answers a packet of this node's that goes nowhere.
   * @param from an address that the device leads to: the kernel takes none of its own from it.
   */
  #refuse(
    bytes: Buffer,
    at: number,
    kind: (typeof IcmpError)[keyof typeof IcmpError],
    from: number,
  ): void {
    const length = this.#isTooMuch() ? 0 : writeError(bytes, at, kind, from, this.#error);
    if (length > 0) this.#calls.write(this.#fdOf(tun), this.#calls.addressOf(this.#error), length);
  }

  /** Tells the node that a packet has come from that its time is over. */
  #sendBack(bytes: Buffer, at: number): void {
    const { subnet = 0, port = 0 } = this.#node ?? {};
    const to = this.#table.find(sourceOf(bytes, at));
    if (to === undefined || this.#isTooMuch()) return;
    const length = writeError(bytes, at, IcmpError.timeExceeded, subnet, this.#out.bytes);
    if (length === 0) return;
    this.#out.address(0, length, to, port);
    this.#out.send(this.#fdOf(socket), 1);
  }

  /** Whether there have been enough errors for now. */
  #isTooMuch(): boolean {
    const now = performance.now();
    if (now - this.#errorsSince > 1000) [this.#errorsSince, this.#errors] = [now, 0];
    return ++this.#errors > mostErrors;
  }

  #fdOf(which: number): number {
    return this.#fds[which] ?? -1;
  }

  #close(which: number): void {
    const fd = this.#fdOf(which);
    if (fd >= 0) closeSync(fd);
    this.#fds[which] = -1;
  }
}

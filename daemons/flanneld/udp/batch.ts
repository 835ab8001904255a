import type { PacketCalls } from "../../../shared/runtime/packet_calls.ts";

/** Packets that go at a time: more brings nothing (docs/backends.md has figures). */
export const batchPackets = 32;
/** Bytes of the longest packet. */
const slotBytes = 65_536;
/** Bytes of struct mmsghdr, iovec and sockaddr_in on 64 bits. */
const [headerBytes, vectorBytes, addressBytes] = [64, 16, 16];
const AF_INET = 2;

/** Room for packets, as recvmmsg(2) and sendmmsg(2) want it. Nothing in it moves. */
export class Batch {
  readonly bytes = Buffer.allocUnsafeSlow(batchPackets * slotBytes);
  readonly #vectors = Buffer.alloc(batchPackets * vectorBytes);
  readonly #addresses = Buffer.alloc(batchPackets * addressBytes);
  readonly #headers = Buffer.alloc(batchPackets * headerBytes);
  readonly #calls: PacketCalls;
  readonly #slots: number;
  readonly #first: number;

  constructor(calls: PacketCalls) {
    this.#calls = calls;
    this.#slots = calls.addressOf(this.bytes);
    this.#first = calls.addressOf(this.#headers);
    const [vectors, addresses] = [this.#vectors, this.#addresses].map((part) =>
      calls.addressOf(part),
    );
    for (let slot = 0; slot < batchPackets; slot++) {
      this.#vectors.writeBigUInt64LE(BigInt(this.#slots + slot * slotBytes), slot * vectorBytes);
      this.#addresses.writeUInt16LE(AF_INET, slot * addressBytes);
      const header = slot * headerBytes;
      this.#headers.writeBigUInt64LE(BigInt((addresses ?? 0) + slot * addressBytes), header);
      this.#headers.writeBigUInt64LE(BigInt((vectors ?? 0) + slot * vectorBytes), header + 16);
      this.#headers.writeBigUInt64LE(1n, header + 24);
    }
  }

  /** Where a slot's packet begins in {@link bytes}. */
  offset(slot: number): number {
    return slot * slotBytes;
  }

  /** Reads one packet. @returns its length, or the negated errno. */
  read(fd: number, slot: number): number {
    return this.#calls.read(fd, this.#slots + slot * slotBytes, slotBytes);
  }

  /** Writes a slot's packet. @returns a negative number where that fails. */
  write(fd: number, slot: number, length: number): number {
    return this.#calls.write(fd, this.#slots + slot * slotBytes, length);
  }

  /** Receives what has come. @returns how many, or the negated errno. */
  receive(fd: number): number {
    for (let slot = 0; slot < batchPackets; slot++) {
      this.#vectors.writeUInt32LE(slotBytes, slot * vectorBytes + 8);
      this.#headers.writeUInt32LE(addressBytes, slot * headerBytes + 8);
    }
    return this.#calls.receive(fd, this.#first, batchPackets);
  }

  /** How long a received packet is. */
  lengthOf(slot: number): number {
    return this.#headers.readUInt32LE(slot * headerBytes + 56);
  }

  /** The address that a received packet has come from. */
  senderOf(slot: number): number {
    return this.#addresses.readUInt32BE(slot * addressBytes + 4);
  }

  /** Addresses a packet that is to be sent. */
  address(slot: number, length: number, to: number, port: number): void {
    this.#vectors.writeUInt32LE(length, slot * vectorBytes + 8);
    this.#addresses.writeUInt16BE(port, slot * addressBytes + 2);
    this.#addresses.writeUInt32BE(to, slot * addressBytes + 4);
    this.#headers.writeUInt32LE(addressBytes, slot * headerBytes + 8);
  }

  /** Sends the first slots. What the kernel refuses or has no room for is lost, as on any network. */
  send(fd: number, count: number): void {
    const EAGAIN = 11;
    for (let at = 0; at < count; ) {
      const sent = this.#calls.send(fd, this.#first + at * headerBytes, count - at);
      if (sent === -EAGAIN) return;
      // The first is at fault, and the others go on without it.
      at += Math.max(sent, 1);
    }
  }
}

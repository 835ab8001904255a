/** The part of protobuf's wire format that etcd's messages are made of: varints and bytes. */

/** The bytes are not a message. */
export class ProtobufError extends Error {
  override readonly name = "ProtobufError";
}

const varint = 0;
const fixed64 = 1;
const delimited = 2;
const fixed32 = 5;

/** Makes a message, field by field. A field of its default value is left out, as proto3 does. */
export class MessageWriter {
  readonly #parts: Uint8Array[] = [];

  integer(field: number, value: bigint | number | boolean): this {
    const number = BigInt(value);
    if (number === 0n) return this;
    this.#varint(BigInt(field * 8 + varint));
    // int64: two's complement of 64 bits.
    this.#varint(BigInt.asUintN(64, number));
    return this;
  }

  bytes(field: number, value: Uint8Array | string): this {
    if (value.length === 0) return this;
    return this.message(field, typeof value === "string" ? Buffer.from(value) : value);
  }

  /** A message within, which may be empty. */
  message(field: number, value: Uint8Array | MessageWriter): this {
    const bytes = value instanceof MessageWriter ? value.finish() : value;
    this.#varint(BigInt(field * 8 + delimited));
    this.#varint(BigInt(bytes.length));
    this.#parts.push(bytes);
    return this;
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #varint(value: bigint): void {
    const bytes: number[] = [];
    let rest = value;
    while (rest > 127n) {
      bytes.push(Number(rest & 127n) | 128);
      rest >>= 7n;
    }
    bytes.push(Number(rest));
    this.#parts.push(Uint8Array.from(bytes));
  }
}

/** A field: an integer's value as an int64, or bytes. */
export interface Field {
  readonly number: number;
  readonly integer: bigint;
  readonly bytes: Buffer;
}

const noBytes = Buffer.alloc(0);

/** The fields of a message, in order. @throws ProtobufError */
export function* fieldsOf(message: Buffer): Generator<Field> {
  for (let at = 0; at < message.length; ) {
    const [tag, start] = readVarint(message, at);
    const number = Number(tag >> 3n);
    const wire = Number(tag & 7n);
    if (number === 0) throw new ProtobufError("a field has the number 0");
    if (wire === varint) {
      const [value, end] = readVarint(message, start);
      yield { number, integer: BigInt.asIntN(64, value), bytes: noBytes };
      at = end;
      continue;
    }
    const [length, from] =
      wire === delimited ? readVarint(message, start) : [fixedSize(wire), start];
    const end = from + Number(length);
    if (end > message.length) throw new ProtobufError("a field has no end");
    yield { number, integer: 0n, bytes: message.subarray(from, end) };
    at = end;
  }
}

function fixedSize(wire: number): bigint {
  if (wire === fixed64) return 8n;
  if (wire === fixed32) return 4n;
  throw new ProtobufError(`there is no wire type ${wire}`);
}

function readVarint(message: Buffer, from: number): readonly [value: bigint, end: number] {
  // Nearly all are short: without bigints until there are more than 28 bits.
  let small = 0;
  for (let at = from, shift = 0; shift < 28; at++, shift += 7) {
    const byte = message[at];
    if (byte === undefined) throw new ProtobufError("a number has no end");
    small |= (byte & 127) << shift;
    if (byte < 128) return [BigInt(small), at + 1];
  }
  let value = BigInt(small);
  for (let at = from + 4, shift = 28n; shift < 70n; at++, shift += 7n) {
    const byte = message[at];
    if (byte === undefined) throw new ProtobufError("a number has no end");
    value |= BigInt(byte & 127) << shift;
    if (byte < 128) return [BigInt.asUintN(64, value), at + 1];
  }
  throw new ProtobufError("a number has more than 64 bits");
}

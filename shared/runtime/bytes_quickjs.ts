/**
 * The part of Node's Buffer that the plugins use, for QuickJS: the same results, and the same classes of errors.
 * This code is interpreted, so it has no step that no caller needs, and leaves loops to native functions.
 */

import { decode, encodeText } from "./utf8_quickjs.ts";

/** Of ECMAScript, but not yet in TypeScript's library. */
interface TextForms {
  toHex(): string;
  toBase64(): string;
}

interface FromHex {
  fromHex(text: string): Uint8Array<ArrayBuffer>;
}

type Encoding = "utf8" | "latin1" | "hex" | "base64";

/** Uint8Array, with the forms of its constructor that are used. */
const Base = Uint8Array as new (
  value: number | ArrayBuffer | ArrayLike<number>,
  offset?: number,
  length?: number,
) => Uint8Array<ArrayBuffer>;

/** Buffer's methods. */
export class Bytes extends Base {
  // A view, as that of Buffer is.
  override subarray(start = 0, end = this.length): Bytes {
    const { length } = this;
    const from = start < 0 ? Math.max(0, length + start) : Math.min(start, length);
    const to = end < 0 ? length + end : Math.min(end, length);
    return new Bytes(this.buffer, this.byteOffset + from, to > from ? to - from : 0);
  }

  override slice(start?: number, end?: number): Bytes {
    return this.subarray(start, end);
  }

  override toString(encoding: Encoding = "utf8", start = 0, end = this.length): string {
    const from = start < 0 ? 0 : start;
    const to = Math.min(end, this.length);
    if (to <= from) return "";
    if (encoding === "utf8") return decode(this.buffer, this.byteOffset + from, to - from);
    const part = new Uint8Array(this.buffer, this.byteOffset + from, to - from);
    if (encoding === "latin1") return latin1(part);
    const forms = part as unknown as TextForms;
    return encoding === "hex" ? forms.toHex() : forms.toBase64();
  }

  /** @returns how many bytes are written: of characters that fit no more, none. */
  write(text: string, at = 0): number {
    if (at < 0 || at > this.length) throw outOfRange("offset", 0, this.length, at);
    const bytes = new Uint8Array(encodeText(text));
    let count = Math.min(bytes.length, this.length - at);
    if (count < bytes.length) {
      while (count > 0 && ((bytes[count] ?? 0) & 0xc0) === 0x80) count--;
    }
    this.set(count < bytes.length ? bytes.subarray(0, count) : bytes, at);
    return count;
  }

  copy(target: Uint8Array, at = 0, start = 0, end = this.length): number {
    if (at < 0) throw outOfRange("targetStart", 0, Infinity, at);
    if (start < 0 || start > this.length) throw outOfRange("sourceStart", 0, this.length, start);
    if (end < 0) throw outOfRange("sourceEnd", 0, Infinity, end);
    const count = Math.min(end - start, this.length - start, target.length - at);
    if (count <= 0) return 0;
    target.set(new Uint8Array(this.buffer, this.byteOffset + start, count), at);
    return count;
  }

  override fill(value: number, start = 0, end = this.length): this {
    if (start < 0) throw outOfRange("offset", 0, Infinity, start);
    if (end < 0 || end > this.length) throw outOfRange("end", 0, this.length, end);
    return super.fill(value, start, end);
  }

  equals(bytes: Uint8Array): boolean {
    return this.length === bytes.length && hexOf(this) === hexOf(bytes);
  }

  override indexOf(value: number | string | Uint8Array, from = 0): number {
    if (typeof value === "number") return super.indexOf(value & 0xff, from);
    const wanted = typeof value === "string" ? new Uint8Array(encodeText(value)) : value;
    const [first] = wanted;
    const start = from < 0 ? Math.max(0, this.length + from) : from;
    if (first === undefined) return Math.min(start, this.length);
    for (let at = super.indexOf(first, start); at >= 0; at = super.indexOf(first, at + 1)) {
      if (this.#hasAt(at, wanted)) return at;
    }
    return -1;
  }

  #hasAt(at: number, wanted: Uint8Array): boolean {
    for (let index = 1; index < wanted.length; index++) {
      if (this[at + index] !== wanted[index]) return false;
    }
    return true;
  }

  override includes(value: number | string | Uint8Array): boolean {
    if (typeof value === "number") return super.includes(value & 0xff);
    const wanted = typeof value === "string" ? new Uint8Array(encodeText(value)) : value;
    if (wanted.length === 0) return true;
    if (wanted.length > this.length) return false;
    return latin1(this).includes(latin1(wanted));
  }

  swap32(): this {
    if (this.length % 4 !== 0) throw new RangeError("Buffer size must be a multiple of 32-bits");
    for (let at = 0; at < this.length; at += 4) this.subarray(at, at + 4).reverse();
    return this;
  }

  readUInt8(at = 0): number {
    const value = this[at];
    if (value === undefined) throw outside(this, at, 1);
    return value;
  }

  readUInt16LE(at = 0): number {
    const last = this[at + 1];
    if (at < 0 || last === undefined) throw outside(this, at, 2);
    return (this[at] ?? 0) | (last << 8);
  }

  readUInt16BE(at = 0): number {
    const last = this[at + 1];
    if (at < 0 || last === undefined) throw outside(this, at, 2);
    return ((this[at] ?? 0) << 8) | last;
  }

  readInt32LE(at = 0): number {
    const last = this[at + 3];
    if (at < 0 || last === undefined) throw outside(this, at, 4);
    return (
      (this[at] ?? 0) | ((this[at + 1] ?? 0) << 8) | ((this[at + 2] ?? 0) << 16) | (last << 24)
    );
  }

  readUInt32LE(at = 0): number {
    return this.readInt32LE(at) >>> 0;
  }

  readInt32BE(at = 0): number {
    const last = this[at + 3];
    if (at < 0 || last === undefined) throw outside(this, at, 4);
    return (
      ((this[at] ?? 0) << 24) | ((this[at + 1] ?? 0) << 16) | ((this[at + 2] ?? 0) << 8) | last
    );
  }

  readUInt32BE(at = 0): number {
    return this.readInt32BE(at) >>> 0;
  }

  readBigUInt64LE(at = 0): bigint {
    return viewOf(this).getBigUint64(at, true);
  }

  readBigUInt64BE(at = 0): bigint {
    return viewOf(this).getBigUint64(at);
  }

  writeUInt8(value: number, at = 0): number {
    checkValue(value, 0, 0xff);
    if (this[at] === undefined) throw outside(this, at, 1);
    this[at] = value;
    return at + 1;
  }

  writeUInt16LE(value: number, at = 0): number {
    checkValue(value, 0, 0xffff);
    return write16(this, value, at);
  }

  writeInt16LE(value: number, at = 0): number {
    checkValue(value, -0x8000, 0x7fff);
    return write16(this, value, at);
  }

  writeUInt16BE(value: number, at = 0): number {
    checkValue(value, 0, 0xffff);
    if (at < 0 || this[at + 1] === undefined) throw outside(this, at, 2);
    this[at] = value >> 8;
    this[at + 1] = value;
    return at + 2;
  }

  writeUInt32LE(value: number, at = 0): number {
    checkValue(value, 0, 0xffff_ffff);
    return write32(this, value, at);
  }

  writeInt32LE(value: number, at = 0): number {
    checkValue(value, -0x8000_0000, 0x7fff_ffff);
    return write32(this, value, at);
  }

  writeUInt32BE(value: number, at = 0): number {
    checkValue(value, 0, 0xffff_ffff);
    return write32Swapped(this, value, at);
  }

  writeBigUInt64LE(value: bigint, at = 0): number {
    checkValue(value, 0n, 0xffff_ffff_ffff_ffffn);
    viewOf(this).setBigUint64(at, value, true);
    return at + 8;
  }

  writeBigUInt64BE(value: bigint, at = 0): number {
    checkValue(value, 0n, 0xffff_ffff_ffff_ffffn);
    viewOf(this).setBigUint64(at, value);
    return at + 8;
  }

  writeBigInt64LE(value: bigint, at = 0): number {
    checkValue(value, -(1n << 63n), (1n << 63n) - 1n);
    viewOf(this).setBigInt64(at, value, true);
    return at + 8;
  }
}

/** Buffer's functions. Uint8Array has `of`. */
export const bytesOf = {
  /** @param value an ArrayBuffer is not copied. */
  from(
    value: string | ArrayBuffer | ArrayLike<number>,
    encodingOrOffset?: "utf8" | "hex" | number,
    length?: number,
  ): Bytes {
    if (typeof value === "string") {
      return new Bytes(encodingOrOffset === "hex" ? fromHex(value) : encodeText(value));
    }
    if (value instanceof ArrayBuffer)
      return new Bytes(value, Number(encodingOrOffset ?? 0), length);
    return new Bytes(value);
  },

  alloc(length: number, fill = 0): Bytes {
    const bytes = new Bytes(length);
    return fill === 0 ? bytes : bytes.fill(fill);
  },

  allocUnsafe: (length: number): Bytes => new Bytes(length),
  allocUnsafeSlow: (length: number): Bytes => new Bytes(length),

  byteLength: (text: string): number => encodeText(text).byteLength,

  /** @param length cuts what is longer, and pads what is shorter. */
  concat(parts: readonly Uint8Array[], length?: number): Bytes {
    let total = length;
    if (total === undefined) {
      total = 0;
      for (const part of parts) total += part.length;
    }
    const bytes = new Bytes(total);
    let at = 0;
    for (const part of parts) {
      const left = total - at;
      bytes.set(part.length <= left ? part : part.subarray(0, left), at);
      at += part.length;
      if (at >= total) break;
    }
    return bytes;
  },
};

function hexOf(bytes: Uint8Array): string {
  return (bytes as unknown as TextForms).toHex();
}

/** The bytes before what is no hexadecimal digit, or only one. */
function fromHex(text: string): ArrayBuffer {
  const [digits = ""] = /^(?:[\da-f]{2})*/i.exec(text) ?? [];
  return (Uint8Array as unknown as FromHex).fromHex(digits).buffer;
}

/** Two native functions are a hundred times as fast as a loop. */
function latin1(bytes: Uint8Array): string {
  return atob((bytes as unknown as TextForms).toBase64());
}

function viewOf({ buffer, byteOffset, byteLength }: Bytes): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

function write16(bytes: Bytes, value: number, at: number): number {
  if (at < 0 || bytes[at + 1] === undefined) throw outside(bytes, at, 2);
  bytes[at] = value;
  bytes[at + 1] = value >> 8;
  return at + 2;
}

function write32(bytes: Bytes, value: number, at: number): number {
  if (at < 0 || bytes[at + 3] === undefined) throw outside(bytes, at, 4);
  bytes[at] = value;
  bytes[at + 1] = value >> 8;
  bytes[at + 2] = value >> 16;
  bytes[at + 3] = value >> 24;
  return at + 4;
}

function write32Swapped(bytes: Bytes, value: number, at: number): number {
  if (at < 0 || bytes[at + 3] === undefined) throw outside(bytes, at, 4);
  bytes[at] = value >> 24;
  bytes[at + 1] = value >> 16;
  bytes[at + 2] = value >> 8;
  bytes[at + 3] = value;
  return at + 4;
}

function checkValue<T extends number | bigint>(value: T, least: T, most: T): void {
  if (value < least || value > most) throw outOfRange("value", least, most, value);
}

function outside({ length }: Bytes, at: number, size: number): RangeError {
  return length < size
    ? new RangeError("Attempt to access memory outside buffer bounds")
    : outOfRange("offset", 0, length - size, at);
}

function outOfRange(
  name: string,
  least: number | bigint,
  most: number | bigint,
  value: number | bigint,
): RangeError {
  const range = most === Infinity ? `>= ${least}` : `>= ${least} and <= ${most}`;
  return new RangeError(
    `The value of "${name}" is out of range. It must be ${range}. Received ${value}`,
  );
}

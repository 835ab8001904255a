/** What an implementation of Buffer answers to calls that a number chooses. */

/** Text with what UTF-8 has of each length, and a lone surrogate. */
const characters = ["a", "Z", "0", "\0", "é", "\u07ff", "€", "\uffff", "😀", "\ud800", "\udc00"];
const numbers = [-1, 0, 1, 127, 128, 255, 256, -128, -129, 32_767, 32_768, 65_535, 65_536];
const largeNumbers = [...numbers, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, -(2 ** 31), 1.5];
const bigNumbers = [
  -1n,
  0n,
  1n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
  2n ** 64n,
  -(2n ** 63n),
];
const readers = [
  ...(["readUInt8", "readUInt16LE", "readUInt16BE", "readUInt32LE", "readInt32LE"] as const),
  ...(["readUInt32BE", "readInt32BE", "readBigUInt64LE", "readBigUInt64BE"] as const),
];
const writers = [
  ...(["writeUInt8", "writeUInt16LE", "writeInt16LE", "writeUInt16BE", "writeUInt32LE"] as const),
  ...(["writeInt32LE", "writeUInt32BE"] as const),
];
const bigWriters = ["writeBigUInt64LE", "writeBigUInt64BE", "writeBigInt64LE"] as const;

/** @returns each call's answer, or the kind of error, and the bytes after it. */
export function answersOf(made: typeof Buffer, seed: number, count: number): unknown[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => oneOf(made, random));
}

function oneOf(made: typeof Buffer, random: Random): unknown {
  const bytes = made.from(random.bytes());
  const target = made.from(random.bytes());
  const at = random.below(20) - 3;
  const end = random.below(20) - 3;
  const text = random.text();
  const calls: readonly (() => unknown)[] = [
    ...readers.map((name) => () => bytes[name](at)),
    ...writers.map((name) => () => bytes[name](random.among(largeNumbers), at)),
    ...bigWriters.map((name) => () => bytes[name](random.among(bigNumbers), at)),
    ...(["utf8", "latin1", "hex", "base64"] as const).map(
      (encoding) => () => bytes.toString(encoding, at, end),
    ),
    () => bytes.toString(),
    () => bytes.subarray(at, end),
    () => bytes.subarray(at),
    () => bytes.write(text, at),
    () => [bytes.copy(target, at, end), target],
    () => [bytes.copy(target, Math.abs(at), Math.abs(end), at + end), target],
    () => bytes.fill(random.among(numbers), at, end),
    () => bytes.equals(random.below(2) === 0 ? target : made.from(bytes)),
    () => bytes.includes(bytes.subarray(at, end)),
    () => bytes.includes(target.subarray(0, random.below(3))),
    // Node aborts on a lone surrogate here.
    () => bytes.includes(text.toWellFormed()),
    () => bytes.includes(random.among(numbers)),
    () => bytes.indexOf(random.below(256), Math.abs(at)),
    () => bytes.indexOf(bytes.subarray(Math.abs(at), Math.abs(at) + random.below(3)), end),
    () => bytes.indexOf(text.toWellFormed(), Math.abs(at)),
    () => bytes.swap32(),
    () => made.from(text),
    () => made.from(random.hexadecimal(), "hex"),
    () => made.from(new Uint8Array(bytes).buffer, Math.abs(at)),
    () => made.byteLength(text),
    () => made.concat([bytes, target]),
    () => made.concat([bytes, target], Math.abs(end)),
    () => made.alloc(Math.abs(at), random.below(256)),
    () => made.of(...bytes),
  ];
  const index = random.below(calls.length);
  try {
    return [index, plain(calls[index]?.()), plain(bytes)];
  } catch (error) {
    return [index, error instanceof Error ? error.constructor.name : "", plain(bytes)];
  }
}

/** A value that JSON has. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return `${String(value)}n`;
  if (value instanceof Uint8Array) return [...value];
  return Array.isArray(value) ? value.map(plain) : value;
}

/** Numbers that depend on the seed alone (a linear congruential generator). */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * limit);
  }

  among<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  /** Random bytes, or a text with a byte or two that do not belong there. */
  bytes(): number[] {
    if (this.below(2) === 0) return Array.from({ length: this.below(20) }, () => this.below(256));
    const starts = [0x41, 0xc1, 0xc3, 0xe0, 0xe2, 0xed, 0xf0, 0xf3, 0xf4, 0xf5, 0xff];
    const nexts = [0x41, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0];
    return Array.from({ length: this.below(20) }, () =>
      this.among(this.below(3) === 0 ? starts : nexts),
    );
  }

  text(): string {
    return Array.from({ length: this.below(8) }, () => this.among(characters)).join("");
  }

  hexadecimal(): string {
    return Array.from({ length: this.below(9) }, () => this.among("0fA9aFgG -".split(""))).join("");
  }
}

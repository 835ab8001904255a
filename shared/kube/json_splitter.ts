/**
 * JSON as a stream of bytes: a list of 5,000 nodes never becomes one string or one object. The
 * parts are read elsewhere, so this only finds where an object ends.
 */

/** An object of a watch, an item of a list, or a list's own metadata. */
export type Part = "object" | "item" | "metadata";

const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

/** The bytes are not the expected JSON, or an object is too large. */
export class StreamError extends Error {
  override readonly name = "StreamError";
}

/** Bytes of one object. etcd, behind the API, takes 1.5 MiB. */
const maxObject = 8 * 1024 * 1024;
/** Bytes of a key that counts. */
const maxKey = 64;

/** Whether the byte at a place of a string is escaped: an odd number of backslashes is before it. */
function isEscaped(json: Buffer, start: number, at: number): boolean {
  let first = at;
  while (first > start && json[first - 1] === backslash) first--;
  return (at - first) % 2 === 1;
}

/**
 * Cuts objects out of chunks of bytes: those that follow each other, as a watch sends them, or the
 * parts of a list, `{"metadata":{...},"items":[{...},...]}`.
 */
export class JsonSplitter {
  readonly #isList: boolean;
  readonly #onPart: (bytes: Buffer, part: Part) => void;
  #depth = 0;
  #inString = false;
  #escaped = false;
  /** The last string at depth 1: the key of the value that follows. */
  #key = "";
  #inItems = false;
  #part: Part | undefined;
  /** What earlier chunks had of the part. */
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #ended = 0;

  /** @param onPart the bytes are its own only until it returns. */
  constructor(kind: "objects" | "list", onPart: (bytes: Buffer, part: Part) => void) {
    this.#isList = kind === "list";
    this.#onPart = onPart;
  }

  /** Whether all that came is whole: objects, or one list. */
  get isWhole(): boolean {
    return this.#depth === 0 && !this.#inString && (!this.#isList || this.#ended === 1);
  }

  /** @throws StreamError */
  push(chunk: Buffer): void {
    // Where the part, or the key, begins in this chunk.
    let start = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at];
      if (this.#inString) {
        at = this.#endOfString(chunk, at);
        if (this.#part === undefined) this.#readKey(chunk, start, at);
      } else if (byte === quote) {
        this.#inString = true;
        if (this.#part === undefined) {
          start = at + 1;
          this.#key = "";
        }
      } else if (byte === openBrace || byte === openBracket) {
        if (this.#part === undefined) {
          this.#part = this.#open(byte);
          start = at;
        }
        this.#depth++;
      } else if (byte === closeBrace || byte === closeBracket) {
        this.#close(chunk, start, at + 1);
      }
    }
    if (this.#part !== undefined) this.#keep(chunk.subarray(start));
  }

  /** @returns its last byte in the chunk, or the chunk's length. */
  #endOfString(chunk: Buffer, from: number): number {
    const start = this.#escaped ? from + 1 : from;
    this.#escaped = false;
    for (let at = chunk.indexOf(quote, start); at >= 0; at = chunk.indexOf(quote, at + 1)) {
      if (isEscaped(chunk, start, at)) continue;
      this.#inString = false;
      return at;
    }
    this.#escaped = isEscaped(chunk, start, chunk.length);
    return chunk.length;
  }

  /** A chunk may end within a key. */
  #readKey(chunk: Buffer, start: number, end: number): void {
    if (this.#depth !== 1 || this.#key.length > maxKey) return;
    this.#key += chunk.toString("latin1", start, Math.min(end, start + maxKey));
  }

  /** What a bracket begins, if it is wanted. */
  #open(byte: number): Part | undefined {
    if (!this.#isList) return "object";
    if (this.#depth === 1 && byte === openBracket) this.#inItems = this.#key === "items";
    if (byte !== openBrace) return undefined;
    if (this.#depth === 1 && this.#key === "metadata") return "metadata";
    return this.#depth === 2 && this.#inItems ? "item" : undefined;
  }

  #close(chunk: Buffer, start: number, end: number): void {
    if (this.#depth === 0) throw new StreamError("there is a bracket too many");
    this.#depth--;
    if (this.#depth === 0) this.#ended++;
    const ends = this.#part === "item" ? 2 : this.#part === "metadata" ? 1 : 0;
    if (this.#part === undefined) {
      if (this.#depth === 1) this.#inItems = false;
      return;
    }
    if (this.#depth > ends) return;
    const last = chunk.subarray(start, end);
    const whole = this.#pending.length === 0 ? last : Buffer.concat([...this.#pending, last]);
    const part = this.#part;
    this.#part = undefined;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#onPart(whole, part);
  }

  /** A copy: a slice would keep the whole chunk. */
  #keep(rest: Buffer): void {
    this.#pendingBytes += rest.length;
    if (this.#pendingBytes > maxObject) {
      throw new StreamError(`an object has more than ${maxObject} bytes`);
    }
    this.#pending.push(Buffer.from(rest));
  }
}

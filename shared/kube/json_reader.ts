import type { Json } from "../base/json.ts";
import { isEscaped, StreamError } from "./json_splitter.ts";

const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

/**
 * Reads JSON from front to back, each byte once, and makes values only of what is wanted: a Node's
 * metadata are mostly managedFields, of which nearly nothing is.
 */
export class JsonReader {
  readonly #json: Buffer;
  #at: number;

  /** @param from where the value begins. */
  constructor(json: Buffer, from = 0) {
    this.#json = json;
    this.#at = skipBlank(json, from);
  }

  /** Where the next value begins. */
  get at(): number {
    return this.#at;
  }

  /** Whether the next value is null. */
  get isNull(): boolean {
    return this.#json.toString("latin1", this.#at, this.#at + 4) === "null";
  }

  /**
   * The keys of an object. A value that is not read before the next key is skipped.
   * @throws StreamError if it is no object.
   */
  *members(): Generator<string> {
    if (this.#json[this.#at] !== openBrace) throw new StreamError("a value is not an object");
    this.#skip(1);
    while (this.#json[this.#at] !== closeBrace) {
      const key = this.text();
      if (this.#json[this.#at] !== colon) throw new StreamError("a key has no value");
      this.#skip(1);
      const start = this.#at;
      yield key;
      if (this.#at === start) this.skipValue();
      this.#skipSeparator(closeBrace);
    }
    this.#skip(1);
  }

  /**
   * The elements of an array, by turns. One that is not read before the next is skipped.
   * @throws StreamError if it is none.
   */
  *elements(): Generator<undefined> {
    if (this.#json[this.#at] !== openBracket) throw new StreamError("a value is not an array");
    this.#skip(1);
    while (this.#json[this.#at] !== closeBracket) {
      const start = this.#at;
      yield undefined;
      if (this.#at === start) this.skipValue();
      this.#skipSeparator(closeBracket);
    }
    this.#skip(1);
  }

  /** Goes to a member's value. @returns whether there is one; otherwise the object has been read. */
  find(name: string): boolean {
    for (const key of this.members()) if (key === name) return true;
    return false;
  }

  /** Reads a text. @throws StreamError if it is none. */
  text(): string {
    const start = this.#at;
    if (this.#json[start] !== quote) throw new StreamError("a value is not a text");
    const end = endOfString(this.#json, start);
    // Most have no escapes, and nothing that JSON forbids in a string.
    const text = this.#json.toString("utf8", start + 1, end);
    const simple = isSimple(text) ? text : parse(this.#json, start, end + 1);
    this.#at = skipBlank(this.#json, end + 1);
    if (typeof simple !== "string") throw new StreamError("a value is not a text");
    return simple;
  }

  /** Reads a value whole. @throws StreamError */
  value(): Json {
    const start = this.#at;
    this.skipValue();
    return parse(this.#json, start, this.#at);
  }

  /** @throws StreamError if it does not end. */
  skipValue(): void {
    const json = this.#json;
    let depth = 0;
    for (let at = this.#at; at < json.length; at++) {
      const byte = json[at];
      if (byte === quote) {
        at = endOfString(json, at);
      } else if (byte === openBrace || byte === openBracket) {
        depth++;
        continue;
      } else if (byte === closeBrace || byte === closeBracket) {
        depth--;
      } else if (depth > 0 || !endsAt(json[at + 1])) {
        continue;
      }
      if (depth > 0) continue;
      if (depth < 0) break;
      this.#at = skipBlank(json, at + 1);
      return;
    }
    throw new StreamError("a value has no end");
  }

  #skip(bytes: number): void {
    this.#at = skipBlank(this.#json, this.#at + bytes);
  }

  #skipSeparator(closing: number): void {
    const byte = this.#json[this.#at];
    if (byte === closing) return;
    if (byte !== comma) throw new StreamError("a value has no end");
    this.#skip(1);
  }
}

/** Whether a number or a word, such as null, ends before a byte. */
function endsAt(byte: number | undefined): boolean {
  if (byte === undefined || byte === comma || byte === colon) return true;
  return byte === closeBrace || byte === closeBracket || isBlank(byte);
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || (byte >= 9 && byte <= 13);
}

function skipBlank(json: Buffer, from: number): number {
  let at = from;
  for (let byte = json[at]; byte !== undefined && isBlank(byte); ) byte = json[++at];
  return at;
}

/** @param from where the string begins. @returns where its last quote is. @throws StreamError */
function endOfString(json: Buffer, from: number): number {
  for (let at = json.indexOf(quote, from + 1); at > 0; at = json.indexOf(quote, at + 1)) {
    if (!isEscaped(json, from + 1, at)) return at;
  }
  throw new StreamError("a text has no end");
}

function isSimple(text: string): boolean {
  return !/[\p{Cc}\\]/u.test(text);
}

function parse(json: Buffer, start: number, end: number): Json {
  try {
    return JSON.parse(json.toString("utf8", start, end)) as Json;
  } catch (cause) {
    throw new StreamError("a value is not JSON", { cause });
  }
}

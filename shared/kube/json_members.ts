import type { Json } from "../base/json.ts";
import { StreamError } from "./json_splitter.ts";

/** A value in bytes of JSON: where it begins and ends. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

/**
 * The members of a JSON object, without a look into their values: a Node's metadata are mostly
 * managedFields, of which nearly nothing is wanted.
 * @throws StreamError if it is no object.
 */
export function* members(json: Buffer, whole: Span): Generator<{ key: string; value: Span }> {
  let at = skipBlank(json, whole.start);
  if (json[at] !== openBrace) throw new StreamError("a value is not an object");
  at = skipBlank(json, at + 1);
  while (json[at] !== closeBrace) {
    if (json[at] !== quote) throw new StreamError("a key is not a text");
    const endOfKey = skipValue(json, at, whole.end);
    const key = textOf(json, { start: at, end: endOfKey });
    at = skipBlank(json, endOfKey);
    if (json[at] !== colon) throw new StreamError("a key has no value");
    const start = skipBlank(json, at + 1);
    const end = skipValue(json, start, whole.end);
    yield { key, value: { start, end } };
    at = skipSeparator(json, end, closeBrace);
  }
}

/** The elements of a JSON array. @throws StreamError if it is none. */
export function* elements(json: Buffer, whole: Span): Generator<Span> {
  let at = skipBlank(json, whole.start);
  if (json[at] !== openBracket) throw new StreamError("a value is not an array");
  at = skipBlank(json, at + 1);
  while (json[at] !== closeBracket) {
    const end = skipValue(json, at, whole.end);
    yield { start: at, end };
    at = skipSeparator(json, end, closeBracket);
  }
}

/** A member's value, or undefined if there is none. */
export function memberOf(json: Buffer, whole: Span, name: string): Span | undefined {
  for (const { key, value } of members(json, whole)) if (key === name) return value;
  return undefined;
}

/** A value as it is read. @throws StreamError */
export function valueOf(json: Buffer, { start, end }: Span): Json {
  try {
    return JSON.parse(json.toString("utf8", start, end)) as Json;
  } catch (cause) {
    throw new StreamError("a value is not JSON", { cause });
  }
}

/** A text. @throws StreamError if it is none. */
export function textOf(json: Buffer, span: Span): string {
  const simple = json.subarray(span.start + 1, span.end - 1);
  // Most have no escapes, and nothing that JSON forbids in a string.
  if (json[span.start] === quote && simple.every((byte) => byte >= 0x20 && byte !== backslash)) {
    return simple.toString("utf8");
  }
  const value = valueOf(json, span);
  if (typeof value === "string") return value;
  throw new StreamError("a value is not a text");
}

function skipBlank(json: Buffer, from: number): number {
  let at = from;
  for (let byte = json[at]; byte === 0x20 || (byte !== undefined && byte >= 9 && byte <= 13); ) {
    byte = json[++at];
  }
  return at;
}

function skipSeparator(json: Buffer, from: number, closing: number): number {
  const at = skipBlank(json, from);
  if (json[at] === closing) return at;
  if (json[at] !== comma) throw new StreamError("a value has no end");
  return skipBlank(json, at + 1);
}

/** @returns the place after a value. @throws StreamError if it does not end before `limit`. */
function skipValue(json: Buffer, from: number, limit: number): number {
  let depth = 0;
  for (let at = from; at < limit; at++) {
    const byte = json[at];
    if (byte === quote) {
      at = endOfString(json, at, limit);
      if (depth === 0) return at + 1;
    } else if (byte === openBrace || byte === openBracket) {
      depth++;
    } else if (byte === closeBrace || byte === closeBracket) {
      // Numbers and words end with whatever contains them.
      if (depth === 0) return at;
      if (--depth === 0) return at + 1;
    } else if (depth === 0 && (byte === comma || byte === colon)) {
      return at;
    }
  }
  throw new StreamError("a value has no end");
}

function endOfString(json: Buffer, from: number, limit: number): number {
  for (let at = from + 1; at < limit; at++) {
    const byte = json[at];
    if (byte === backslash) at++;
    else if (byte === quote) return at;
  }
  throw new StreamError("a text has no end");
}

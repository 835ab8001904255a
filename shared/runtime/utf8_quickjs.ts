/** UTF-8 in QuickJS. */

/** What the native part gives for text. */
declare const hostEncode: (text: string) => ArrayBuffer;
declare const hostDecode: (bytes: ArrayBuffer, offset: number, length: number) => string;

/** UTF-8, in which a lone surrogate is U+FFFD. */
export function encodeText(text: string): ArrayBuffer {
  return hostEncode(text.isWellFormed() ? text : text.toWellFormed());
}

/** Reads UTF-8. The native function has an answer of its own to what is not UTF-8. */
export function decode(buffer: ArrayBuffer, offset: number, length: number): string {
  const text = hostDecode(buffer, offset, length);
  const isSure = text.isWellFormed() && !text.includes("\uFFFD");
  return isSure ? text : decodeAny(new Uint8Array(buffer, offset, length));
}

/** UTF-8 with U+FFFD for each longest sequence that begins none (the Encoding Standard's decoder). */
function decodeAny(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at] ?? 0;
    const count = sequenceLength(first);
    let value = count === 1 ? first : first & (0x7f >> count);
    let length = 1;
    while (length < count && continues(bytes[at + length], first, length)) {
      value = (value << 6) | ((bytes[at + length] ?? 0) & 0x3f);
      length++;
    }
    text += length === count ? String.fromCodePoint(value) : "\uFFFD";
    at += length;
  }
  return text;
}

/** Bytes of a character by its first one; 0 if none begins with it. */
function sequenceLength(first: number): number {
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}

/** Whether a byte continues a character: the second one leaves out long forms, surrogates and what is too large. */
function continues(byte: number | undefined, first: number, index: number): boolean {
  if (byte === undefined) return false;
  const least = index > 1 ? 0x80 : first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const most = index > 1 ? 0xbf : first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  return byte >= least && byte <= most;
}

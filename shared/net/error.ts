/**
 * A text is not an address or subnet, or there is no such address.
 *
 * The message is a clause without a full stop, such as `"10.244.1" is not an IP address`. The caller
 * knows where the text came from, and puts the clause into a sentence.
 */
export class NetError extends Error {
  override readonly name = "NetError";
}

/** The error for a text that is not `what`. The text is cut to a length that fits into a message. */
export function notA(what: string, text: string): NetError {
  const shown = text.length > 64 ? `${text.slice(0, 64)}…` : text;
  return new NetError(`${JSON.stringify(shown)} is not ${what}`);
}

/**
 * A text is not the address, subnet or number it should be, or arithmetic left the address space.
 *
 * The message is a clause without a full stop, such as `"10.244.1" is not an IP address`, so that
 * whoever knows where the text came from can put it into a sentence.
 */
export class NetError extends Error {
  override readonly name = "NetError";
}

/** The error for a text that is no `what`; the text is cut to a length that fits in a message. */
export function notA(what: string, text: string): NetError {
  const shown = text.length > 64 ? `${text.slice(0, 64)}…` : text;
  return new NetError(`${JSON.stringify(shown)} is not ${what}`);
}

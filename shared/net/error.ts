/**
 * A text is not the address, subnet or MAC that it should be, or arithmetic left the address space.
 *
 * The message is a clause without a full stop. About a text it says what that must be, such as "must
 * be an IP address", so that whoever knows where the text came from can make a sentence of it.
 */
export class NetError extends Error {
  override readonly name = "NetError";
}

import { NetError } from "./error.ts";

/**
 * Reads a MAC address of six bytes, as 0a:58:0a:f4:01:02, 0a-58-0a-f4-01-02 or 0a58.0af4.0102.
 * @throws NetError
 */
export function parseMac(text: string): Uint8Array {
  const groups =
    /^(?:[\da-f]{2}([:-])(?:[\da-f]{2}\1){4}[\da-f]{2}|(?:[\da-f]{4}\.){2}[\da-f]{4})$/i;
  if (!groups.test(text)) {
    throw new NetError("must be a MAC address, such as 0a:58:0a:f4:01:02");
  }
  return new Uint8Array(Buffer.from(text.replaceAll(/[:.-]/g, ""), "hex"));
}

/** Reads a MAC address that an interface can have. @throws NetError */
export function parseInterfaceMac(text: string): Uint8Array {
  const bytes = parseMac(text);
  if (((bytes[0] ?? 0) & 1) === 1) {
    throw new NetError("must be the address of one interface, not a multicast address");
  }
  if (bytes.every((byte) => byte === 0)) throw new NetError("must not be all zeros");
  return bytes;
}

/**
 * Writes a MAC address in lower case with colons.
 * @throws NetError unless there are six bytes.
 */
export function formatMac(bytes: Uint8Array): string {
  if (bytes.length !== 6) throw new NetError(`${bytes.length} bytes are not a MAC address`);
  return Buffer.from(bytes)
    .toString("hex")
    .replaceAll(/\B(?=(?:..)+$)/g, ":");
}

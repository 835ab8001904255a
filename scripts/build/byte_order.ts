/** Takes the place of node:os, of which netlink's codecs want this only: loading a builtin costs time. */
export function endianness(): "BE" | "LE" {
  return new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? "LE" : "BE";
}

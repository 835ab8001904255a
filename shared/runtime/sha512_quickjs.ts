import { encodeText } from "./utf8_quickjs.ts";
import { HOST_sha512, libc, ptr } from "./libc_quickjs.ts";

/** The SHA-512 of a text or of bytes, as 128 hexadecimal digits. In QuickJS itself it would take milliseconds. */
export function sha512(data: string | Uint8Array): string {
  const bytes = typeof data === "string" ? new Uint8Array(encodeText(data)) : data;
  const digest = Buffer.alloc(64);
  libc.syscall(HOST_sha512, ptr(bytes), bytes.length, ptr(digest));
  return digest.toString("hex");
}

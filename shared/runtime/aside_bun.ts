import { closeSync } from "node:fs";
import { cString, i32, i64, load, pointer, ptr, u64 } from "./libc_bun.ts";

/**
 * Sends by a socket from a thread of its own (see SendAside). One with a JavaScript engine would take
 * 8 MB, so this is a thread of libc's alone, and its function is one of libc's: fclose(3) of a buffered
 * stream sends what is in the buffer by one write(2), and frees everything. To pthread_create(3) a function
 * that returns an int is as good as one that returns a pointer, on x86-64 and arm64.
 */
const libc = load({
  dlsym: { args: [i64, pointer], returns: i64 },
  dup: { args: [i32], returns: i32 },
  fclose: { args: [i64], returns: i32 },
  fdopen: { args: [i32, pointer], returns: i64 },
  fwrite: { args: [pointer, u64, u64, i64], returns: u64 },
  pthread_create: { args: [pointer, i64, i64, i64], returns: i32 },
  pthread_detach: { args: [i64], returns: i32 },
});
const [mode, name] = [cString("w"), cString("fclose")];
/** dlsym(3)'s handle of everything that is loaded. */
const RTLD_DEFAULT = 0;
const fclose = libc.dlsym(RTLD_DEFAULT, ptr(name));

/**
 * @param data at most 4096 bytes, which is what a stream's buffer holds.
 * @returns false if there is no room for another thread or descriptor: nothing is sent then.
 */
export function sendAside(fd: number, data: Uint8Array): boolean {
  const copy = libc.dup(fd);
  if (copy < 0) return false;
  const stream = libc.fdopen(copy, ptr(mode));
  if (stream === 0) {
    closeSync(copy);
    return false;
  }
  libc.fwrite(ptr(data), 1, data.length, stream);
  const thread = new BigInt64Array(1);
  if (libc.pthread_create(ptr(thread), 0, fclose, stream) !== 0) {
    // It sends all the same, and this thread waits.
    libc.fclose(stream);
    return true;
  }
  libc.pthread_detach(Number(thread[0] ?? 0n));
  return true;
}

import { errnoOf } from "../cni/error.ts";

/**
 * Writes all of `text` to a file descriptor that may be a non-blocking pipe, which answers EAGAIN
 * while its reader is slow.
 * @param write writes from an offset on, and returns how many bytes it took.
 * @param wait waits, bounded, until the descriptor can be written to.
 */
export function writeFully(
  text: string,
  write: (bytes: Uint8Array, at: number) => number,
  wait: () => void,
): void {
  const bytes = Buffer.from(text);
  let refused = 0;
  for (let at = 0; at < bytes.length; ) {
    try {
      at += write(bytes, at);
      refused = 0;
    } catch (error) {
      if (errnoOf(error) !== "EAGAIN" || ++refused > 24) throw error;
      wait();
    }
  }
}

/** Ends what is left of a process group. */
export function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch {
    // Nothing is left of it.
  }
}

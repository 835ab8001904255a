import { closeSync } from "node:fs";
import { functionAt, i64, load, numberAt, pointer, ptr, u64 } from "./libc_bun.ts";

/**
 * What the kernel takes long for is left to a process that outlives this one. A thread would keep this process from
 * ending. An orphan does not, and init collects it, as it does the shim of a container. It has this
 * process's memory, and one of its files.
 *
 * The function is in the native client (plugins/native_client/calls.c), if the executable begins with that. An
 * orphan must not touch libc: it shares the state that libc has for this thread.
 */
const AT_ENTRY = 9;
/** "orphan 1" as a number. */
const mark = 0x31206e616870726fn;
/** Bytes behind the first instruction in which the mark is, at a multiple of 16. */
const reach = 128;

let send: ((fd: number, data: number, length: number) => number) | undefined;

/**
 * Sends by a socket (see SendAside).
 * @returns false if nothing is sent: no such function, too much data, or no room for a process.
 */
export function sendByOrphan(fd: number, data: Uint8Array): boolean {
  return startOrphan(fd, data, data.length);
}

/**
 * Leaves an open file to an orphan, which closes it 40 ms later.
 * @returns false if there is none: the file is open then.
 */
export function closeByOrphan(fd: number): boolean {
  const isLeft = startOrphan(fd, new Uint8Array(1), 0);
  if (isLeft) closeSync(fd);
  return isLeft;
}

/** @param length of what it sends; 0 for one that only closes the file. */
function startOrphan(fd: number, data: Uint8Array, length: number): boolean {
  const address = send === undefined ? findSender() : 0;
  if (address === undefined) return false;
  send ??= functionAt(address, { args: [i64, pointer, u64], returns: i64 });
  return send(fd, ptr(data), length) > 0;
}

/** The function's address: eight bytes after the mark is how far it is from the mark. */
function findSender(): number | undefined {
  const { getauxval } = load({ getauxval: { args: [u64], returns: i64 } });
  const entry = getauxval(AT_ENTRY);
  for (let at = Math.ceil(entry / 16) * 16; at < entry + reach; at += 16) {
    if (numberAt(at) === mark) return at + Number(BigInt.asIntN(64, numberAt(at + 8)));
  }
  return undefined;
}

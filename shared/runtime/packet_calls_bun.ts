import { i32, libc, load, pointer, ptr, u64 } from "./libc_bun.ts";
import type { PacketCalls } from "./packet_calls.ts";

const MSG_DONTWAIT = 0x40;
const calls = load({
  __errno_location: { args: [], returns: pointer },
  poll: { args: [u64, u64, i32], returns: i32 },
  read: { args: [i32, u64, u64], returns: 15 },
  recvmmsg: { args: [i32, u64, i32, i32, u64], returns: i32 },
  sendmmsg: { args: [i32, u64, i32, i32], returns: i32 },
  write: { args: [i32, u64, u64], returns: 15 },
});
const { read } = (
  Bun as unknown as { FFI: { read: { i32: (address: number, at: number) => number } } }
).FFI;

/** Signals go to the main thread, so no call is interrupted. */
function outcome(value: number): number {
  return value >= 0 ? value : -read.i32(libc.__errno_location(), 0);
}

/** {@link PacketCalls} on Bun. */
export const packetCalls: PacketCalls = {
  read: (fd, address, bytes) => outcome(calls.read(fd, address, bytes)),
  write: (fd, address, bytes) => outcome(calls.write(fd, address, bytes)),
  receive: (fd, headers, most) => outcome(calls.recvmmsg(fd, headers, most, MSG_DONTWAIT, 0)),
  send: (fd, headers, count) => outcome(calls.sendmmsg(fd, headers, count, MSG_DONTWAIT)),
  wait: (entries, count, timeout) => outcome(calls.poll(entries, count, timeout)),
  addressOf: ptr,
};

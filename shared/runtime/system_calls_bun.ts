import { answer, libc, ptr } from "./libc_bun.ts";
import type { RawCalls } from "./system_calls.ts";

/** {@link RawCalls} on Bun. */
export const rawCalls: RawCalls = {
  call(number, ...args) {
    const [a = 0, b = 0, c = 0, d = 0, e = 0] = args.map((arg) =>
      typeof arg === "number" ? arg : ptr(arg),
    );
    return answer(() => libc.syscall(number, a, b, c, d, e));
  },
  addressOf: (bytes) => ptr(bytes),
};

/**
 * What the plugins use of Node's globals and QuickJS has not. It comes before all other modules, and is evaluated
 * when the executable is built: what a process has of its own is read when it is asked for.
 */
import { Bytes, bytesOf } from "./bytes_quickjs.ts";
import { encodeText } from "./utf8_quickjs.ts";
import { failure } from "./fs_error.ts";
import {
  answer,
  libc,
  ptr,
  SYS_clock_gettime,
  SYS_geteuid,
  SYS_getpid,
  SYS_getrandom,
  SYS_kill,
} from "./libc_quickjs.ts";

const CLOCK_MONOTONIC = 1;
const SIGKILL = 9;

class TextEncoder {
  encode(text: string): Uint8Array {
    return new Uint8Array(encodeText(text));
  }
}

const time = new BigInt64Array(2);

/** The native one begins when the executable is built. */
const performance = {
  now(): number {
    libc.syscall(SYS_clock_gettime, CLOCK_MONOTONIC, ptr(time));
    return Number(time[0]) * 1000 + Number(time[1]) / 1e6;
  },
};

/** Numbers of 32 bits that are read at once. */
const randomWords = new Uint32Array(16);
let wordsLeft = 0;

/** The native one would begin with the same number in every process: its state is that of the build. */
function random(): number {
  if (wordsLeft === 0) {
    answer(() => libc.syscall(SYS_getrandom, ptr(randomWords), randomWords.byteLength, 0));
    wordsLeft = randomWords.length;
  }
  const high = randomWords[--wordsLeft] ?? 0;
  const low = randomWords[--wordsLeft] ?? 0;
  return (high * 2 ** 21 + (low >>> 11)) / 2 ** 53;
}

/** Of the process, not of what starts it: sys_quickjs.ts has that. */
const ownProcess = {
  get pid(): number {
    return libc.syscall(SYS_getpid);
  },
  geteuid: (): number => libc.syscall(SYS_geteuid),
  kill(pid: number, signal: "SIGKILL"): true {
    if (signal !== "SIGKILL") throw new RangeError(`no number of ${String(signal)}`);
    const done = answer(() => libc.syscall(SYS_kill, pid, SIGKILL));
    if (done < 0) throw failure(-done, "kill");
    return true;
  },
};

Math.random = random;

Object.assign(globalThis, {
  Buffer: Object.assign(Bytes, bytesOf),
  TextEncoder,
  performance,
  process: ownProcess,
});

export { hostRegisters } from "./libc_quickjs.ts";

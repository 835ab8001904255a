/**
 * A system call that waits in the kernel, with a limit. Neither runtime lets a signal's handler of its own run
 * in a thread that waits, so the handler is a function of libc that does nothing. It is the timer's signal that
 * ends the call, with EINTR.
 */

/** What it needs of libc. Values are those of the calls. */
export interface TimerCalls {
  /** The address of abs(3). */
  readonly nothing: () => bigint;
  /** sigaction(2). */
  readonly sigaction: (signal: number, action: Uint8Array, old: Uint8Array) => number;
  /** pthread_sigmask(3). */
  readonly unblock: (set: Uint8Array) => number;
  /** setitimer(2) of ITIMER_REAL. */
  readonly setitimer: (value: Uint8Array) => number;
}

const SIGALRM = 14;
/** Of struct sigaction: a handler, a mask of 128 bytes, flags, and a pointer for libc. */
const actionBytes = 152;
const maskBytes = 128;
/** Microseconds between signals after the first one, which may come before the call. */
const again = 20_000;

/** Makes a call during which signals come from `milliseconds` on. Only for a process's main thread. */
export function withTimer<T>(calls: TimerCalls, milliseconds: number, call: () => T): T {
  const action = Buffer.alloc(actionBytes);
  const old = Buffer.alloc(actionBytes);
  const set = Buffer.alloc(maskBytes);
  action.writeBigUInt64LE(calls.nothing());
  set.writeUInt32LE(1 << (SIGALRM - 1));
  calls.sigaction(SIGALRM, action, old);
  calls.unblock(set);
  try {
    calls.setitimer(timerOf(milliseconds));
    return call();
  } finally {
    calls.setitimer(timerOf(undefined));
    calls.sigaction(SIGALRM, old, action);
  }
}

/** A struct itimerval: an interval and a first value, each of seconds and microseconds. None stops it. */
function timerOf(milliseconds: number | undefined): Uint8Array {
  if (milliseconds === undefined) return new Uint8Array(32);
  // A value of 0 would stop it.
  const first = Math.max(1, Math.round(milliseconds * 1000));
  const words = [0, again, Math.floor(first / 1e6), first % 1e6];
  return new Uint8Array(new BigInt64Array(words.map(BigInt)).buffer);
}

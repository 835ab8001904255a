import { answerOnce, libc, ptr, SYS_clock_nanosleep, timespec } from "./libc_quickjs.ts";

const CLOCK_MONOTONIC = 1;

/** Takes the place of sleep.ts. A signal ends it early, but none comes. */
export function sleep(time: number): void {
  const wanted = timespec(time);
  answerOnce(() => libc.syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, ptr(wanted), 0));
}

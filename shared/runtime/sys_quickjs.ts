import { withOutput } from "./io.ts";
import { answerOnce, HOST_flockWithin, libc, SYS_exit_group } from "./libc_quickjs.ts";
import { sha512 } from "./sha512_quickjs.ts";
import { spawnTo } from "./spawn_quickjs.ts";
import { libcCalls, memoryFile } from "./sys_libc.ts";
import type { Sys } from "./sys.ts";

/** {@link Sys} on QuickJS, in the executable's native part. */

/** @param variables the environment, each as NAME=value. Of those with the same name, the first one counts. */
export function sysOf(argv0: string, variables: readonly string[]): Sys {
  const env: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const variable of variables) {
    const at = variable.indexOf("=");
    if (at > 0) env[variable.slice(0, at)] ??= variable.slice(at + 1);
  }
  return { ...calls, argv0, args: [], env };
}

const calls: Omit<Sys, "argv0" | "args" | "env"> = {
  ...libcCalls,

  exit(code) {
    for (;;) libc.syscall(SYS_exit_group, code);
  },

  flockWithin: (fd, operation, milliseconds) =>
    answerOnce(() => libc.syscall(HOST_flockWithin, fd, operation, milliseconds)),

  sha512,

  run: (command, args, options) =>
    withOutput(options, memoryFile, (output) => spawnTo(output, command, args, options)),
};

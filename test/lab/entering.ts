/** The command that runs a program in other namespaces. Nothing else is started as often by the tests. */
import { execFileSync } from "node:child_process";
import { pathOf } from "./requirements.ts";

type Command = readonly [program: string, ...args: string[]];

const paths = new Map<string, string | undefined>();
let busybox: string | undefined | null = null;

/**
 * nsenter with its arguments and the program's name, to which the program's own arguments are appended.
 *
 * Busybox's has no libraries to load and takes a third of the time. But it would run its own `ip` and
 * `sh`, so it gets the program's full path, unless the program is to be found by a PATH of its own.
 */
export function enteringCommand(
  nsenterArgs: readonly string[],
  file: string,
  path?: string,
): Command {
  const fullPath = path === undefined ? fullPathOf(file) : undefined;
  busybox = busybox === null ? busyboxWithNsenter() : busybox;
  if (busybox !== undefined && fullPath !== undefined) {
    return [busybox, "nsenter", ...nsenterArgs, "--", fullPath];
  }
  // By its full path, because PATH is that of the program to run.
  return [fullPathOf("nsenter") ?? "nsenter", ...nsenterArgs, "--", file];
}

function fullPathOf(file: string): string | undefined {
  if (file.includes("/")) return file;
  if (!paths.has(file)) paths.set(file, pathOf(file));
  return paths.get(file);
}

function busyboxWithNsenter(): string | undefined {
  const program = pathOf("busybox");
  if (program === undefined) return undefined;
  const applets = execFileSync(program, ["--list"], { encoding: "utf8" });
  return /^nsenter$/m.test(applets) ? program : undefined;
}

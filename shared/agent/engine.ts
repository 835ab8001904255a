import { readlinkSync } from "node:fs";
import type { SystemCalls } from "../runtime/system_calls.ts";
import { ownExecutable } from "../runtime/sys.ts";
import type { Sys } from "../runtime/sys.ts";

/**
 * Options of JavaScriptCore, which takes them from the environment alone. Its last compiler takes longer to
 * compile than an agent ever saves by it, and memory; so does a second thread of the one before.
 */
const options: Readonly<Record<string, string>> = {
  BUN_JSC_useFTLJIT: "0",
  BUN_JSC_numberOfDFGCompilerThreads: "1",
};

/** Starts this process's program anew, with the engine's options, unless it has them. */
export function applyEngineOptions(sys: Sys, system: SystemCalls): void {
  const { env, argv0, args } = sys;
  // Whoever sets one of them knows better.
  if (Object.keys(options).some((name) => env[name] !== undefined)) return;
  const all = Object.entries({ ...env, ...options });
  const variables = all.flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}`],
  );
  // By its path, for the kernel names the process after it. Where that fails, it goes on as it is.
  system.execute(readlinkSync(ownExecutable), [argv0, ...args], variables);
}

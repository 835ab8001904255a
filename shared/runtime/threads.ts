import type { RawCalls } from "./system_calls.ts";

/** The scripts of the executable that run in threads. */
export type ThreadScript = "agent_worker" | "agent_helper" | "udp_forwarder";

/** What only the runtimes have in which the agent can run. */
export interface Threads {
  readonly rawCalls: RawCalls;
  /** Starts a script of the executable in a thread. @param args its arguments. */
  start(script: ThreadScript, args: readonly string[]): Thread;
}

/** A thread with a runtime of its own. */
export interface Thread {
  readonly ended: Promise<ThreadEnd>;
}

export interface ThreadEnd {
  /** The exit status that it asked for, or 1. */
  readonly code: number;
  /** What it threw. */
  readonly problem: string | undefined;
}

/** @returns undefined where threads cannot make system calls. */
export async function findThreads(): Promise<Threads | undefined> {
  if (process.versions.bun === undefined) return undefined;
  const { threads } = await import("./threads_bun.ts");
  return threads;
}

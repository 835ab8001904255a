import type { EventEmitter } from "node:events";
import { Failure, messageOf } from "../base/failure.ts";
import type { Log } from "./log.ts";

/**
 * The last resort for what a callback, or a promise that nobody awaits, has thrown. A
 * {@link Failure} may pass and is logged, once in a row. Anything else is a defect: the process ends,
 * for its supervisor to start it again.
 * @param source the process.
 */
export function handleUncaught(
  program: string,
  source: EventEmitter,
  log: Log,
  { signal, exit }: { readonly signal: AbortSignal; readonly exit: (code: number) => void },
): void {
  let last = "";
  const handle = (error: unknown): void => {
    // Whoever waits is told so.
    if (signal.aborted && error === signal.reason) return;
    const text = describeUncaught(program, error);
    if (text !== last) log.error(text);
    last = text;
    if (!(error instanceof Failure)) exit(1);
  };
  source.on("uncaughtException", handle);
  source.on("unhandledRejection", handle);
}

/** The log's text for what has ended an activity. */
export function describeUncaught(program: string, error: unknown): string {
  if (error instanceof Failure) return `${error.message} ${error.advice}`;
  const stack = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
  return `This is a defect of ${program}: ${stack}`;
}

import type { Server } from "node:net";
import { messageOf } from "../base/failure.ts";
import { Backoff } from "./backoff.ts";

/** Milliseconds between attempts: a liveness probe must find an answer soon. */
const limits = { first: 250, most: 5000 };

/** A server that listens, or tries to until it is closed. */
export interface KeptServer {
  readonly close: () => void;
}

/**
 * Has a server listen, and tries again with back-off as long as it cannot.
 * @param place completes "Cannot answer at", for messages.
 * @param listen begins to listen. What it throws counts as the server's error.
 * @param report told why it cannot listen, once for each reason, and undefined when it can again.
 */
export function keepListening(
  server: Server,
  place: string,
  listen: () => Promise<void> | void,
  report: (problem: string | undefined) => void,
): KeptServer {
  const backoff = new Backoff(limits);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let reported: string | undefined;
  let isClosed = false;
  const fail = (error: unknown): void => {
    if (isClosed) return;
    const problem = `Cannot answer at ${place}: ${messageOf(error)}.`;
    if (problem !== reported) report(problem);
    reported = problem;
    if (server.listening) return;
    clearTimeout(timer);
    timer = setTimeout(() => void attempt(), backoff.next());
  };
  const attempt = async (): Promise<void> => {
    try {
      await listen();
    } catch (error) {
      fail(error);
    }
  };
  server.on("error", fail);
  server.on("listening", () => {
    backoff.reset();
    if (isClosed) server.close();
    if (reported !== undefined) report(undefined);
    reported = undefined;
  });
  void attempt();
  return {
    close: () => {
      isClosed = true;
      clearTimeout(timer);
      server.close();
    },
  };
}

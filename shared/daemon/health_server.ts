import { createServer } from "node:http";
import type { Server } from "node:http";
import { Failure } from "../base/failure.ts";
import { keepListening } from "./keep_listening.ts";
import type { KeptServer } from "./keep_listening.ts";

/** What a daemon reports about itself. */
export interface Health {
  /** Why it is not ready, or undefined if it is. */
  readonly notReady: () => string | undefined;
  /** What it waits for, ready or not. */
  readonly waits: () => readonly string[];
  /** Its metrics in Prometheus' text format. */
  readonly metrics: () => string;
}

const textType = "text/plain; charset=utf-8";

/**
 * Answers /healthz while the process lives, /readyz by its state, and /metrics.
 * @param report told why it cannot listen; it tries again. Undefined when it can.
 */
export function startHealthServer(
  program: string,
  { host, port }: { readonly host: string; readonly port: number },
  health: Health,
  report: (problem: string | undefined) => void,
): KeptServer {
  const server: Server = createServer((request, response) => {
    const answer = answerOrFailure(program, request.url ?? "/", health);
    response.writeHead(answer.status, { "content-type": textType, connection: "close" });
    response.end(request.method === "HEAD" ? "" : answer.text);
  });
  // Silent connections are closed.
  server.headersTimeout = 5000;
  server.requestTimeout = 5000;
  const listen = () => void server.listen(port, host);
  const { close } = keepListening(server, `${host}, port ${port}`, listen, report);
  return {
    close: () => {
      close();
      server.closeAllConnections();
    },
  };
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

function answerOrFailure(program: string, url: string, health: Health): Answer {
  try {
    return answerTo(program, url, health);
  } catch (error) {
    if (error instanceof Failure) return { status: 500, text: `${error.message}\n` };
    throw error;
  }
}

function answerTo(program: string, url: string, health: Health): Answer {
  const [path] = url.split("?");
  if (path === "/healthz") return { status: 200, text: `${program} is running` };
  if (path === "/metrics") return { status: 200, text: health.metrics() };
  if (path !== "/readyz") return { status: 404, text: "there is /healthz, /readyz and /metrics\n" };
  const problem = health.notReady();
  if (problem !== undefined) {
    return { status: 503, text: `${program} is not ready: ${problem}\n` };
  }
  const waits = health.waits();
  return waits.length === 0
    ? { status: 200, text: `${program} is ready` }
    : { status: 200, text: [`${program} is ready, and waits:`, ...waits, ""].join("\n") };
}

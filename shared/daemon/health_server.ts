import { createServer } from "node:http";
import type { Server } from "node:http";
import { Failure, messageOf } from "../base/failure.ts";

/** What a daemon reports about itself. */
export interface Health {
  /** Why it is not ready, or undefined if it is. */
  readonly notReady: () => string | undefined;
  /** Its metrics in Prometheus' text format. */
  readonly metrics: () => string;
}

export interface HealthServer {
  readonly close: () => void;
}

const textType = "text/plain; charset=utf-8";

/**
 * Answers /healthz while the process lives, /readyz by its state, and /metrics.
 * @param onFailure told where it cannot listen.
 */
export function startHealthServer(
  program: string,
  { host, port }: { readonly host: string; readonly port: number },
  health: Health,
  onFailure: (problem: string) => void,
): HealthServer {
  const server: Server = createServer((request, response) => {
    const answer = answerOrFailure(program, request.url ?? "/", health);
    response.writeHead(answer.status, { "content-type": textType, connection: "close" });
    response.end(request.method === "HEAD" ? "" : answer.text);
  });
  server.on("error", (error) => {
    onFailure(`Cannot answer at ${host}, port ${port}: ${messageOf(error)}.`);
  });
  // Silent connections are closed.
  server.headersTimeout = 5000;
  server.requestTimeout = 5000;
  server.listen(port, host);
  return {
    close: () => {
      server.close();
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
  return problem === undefined
    ? { status: 200, text: `${program} is ready` }
    : { status: 503, text: `${program} is not ready: ${problem}\n` };
}

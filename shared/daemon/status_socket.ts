import { chmodSync, unlinkSync } from "node:fs";
import { connect, createServer } from "node:net";
import { errnoOf, messageOf } from "../base/failure.ts";

/** A daemon's status, at a socket in the file system that only root can open. */
export interface StatusServer {
  readonly close: () => void;
}

/** Milliseconds in which a living daemon answers. */
const answerTimeout = 5000;
const onlyOwner = 0o600;

/**
 * Answers whoever connects with a text, and hangs up.
 * @param onFailure told where it cannot listen.
 */
export function serveStatus(
  path: string,
  status: () => string,
  onFailure: (problem: string) => void,
): StatusServer {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end(status());
  });
  const listen = (): void => {
    server.listen(path, () => {
      chmodSync(path, onlyOwner);
    });
  };
  let hasTried = false;
  server.on("error", (error) => {
    // A killed daemon has left it behind.
    if (errnoOf(error) === "EADDRINUSE" && !hasTried) {
      hasTried = true;
      void takeOver(path, listen, onFailure);
    } else onFailure(`Cannot answer at ${path}: ${messageOf(error)}.`);
  });
  listen();
  return {
    close: () => {
      server.close();
    },
  };
}

async function takeOver(
  path: string,
  listen: () => void,
  onFailure: (problem: string) => void,
): Promise<void> {
  if ((await askStatus(path)) !== undefined) {
    onFailure(`Cannot answer at ${path}: another process does.`);
    return;
  }
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") {
      onFailure(`Cannot answer at ${path}: ${messageOf(error)}.`);
      return;
    }
  }
  listen();
}

/** What a daemon answers at its socket, or undefined if nothing listens. */
export async function askStatus(path: string): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const socket = connect(path);
  const parts: Buffer[] = [];
  socket.setTimeout(answerTimeout, () => {
    socket.destroy();
    resolve(undefined);
  });
  socket.on("data", (part) => parts.push(Buffer.from(part)));
  socket.on("error", () => {
    resolve(undefined);
  });
  socket.on("end", () => {
    socket.destroy();
    resolve(Buffer.concat(parts).toString());
  });
  return promise;
}

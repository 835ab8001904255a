import { chmodSync, existsSync, mkdirSync, unlinkSync } from "node:fs";
import { connect, createServer } from "node:net";
import { dirname } from "node:path";
import { errnoOf } from "../base/failure.ts";
import { keepListening } from "./keep_listening.ts";
import type { KeptServer } from "./keep_listening.ts";

/** Milliseconds in which a living daemon answers. */
const answerTimeout = 5000;
const onlyOwner = 0o600;
const folderMode = 0o755;

/**
 * Answers whoever connects with a text, and hangs up. Only root can connect.
 * @param path of a socket, whose folder is made.
 * @param report told why it cannot listen; it tries again. Undefined when it can.
 */
export function serveStatus(
  path: string,
  status: () => string,
  report: (problem: string | undefined) => void,
): KeptServer {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end(status());
  });
  server.on("listening", () => {
    try {
      chmodSync(path, onlyOwner);
    } catch (error) {
      server.close();
      server.emit("error", error);
    }
  });
  const listen = async (): Promise<void> => {
    mkdirSync(dirname(path), { recursive: true, mode: folderMode });
    if (existsSync(path)) await takeOver(path);
    server.listen(path);
  };
  return keepListening(server, path, listen, report);
}

/** Removes the socket of a daemon that was killed. @throws Error where another one answers */
async function takeOver(path: string): Promise<void> {
  if ((await askStatus(path)) !== undefined) throw new Error("another process does");
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
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

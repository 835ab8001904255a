/**
 * A server and client in a network namespace:
 *
 *     peer.ts NAME [PROTOCOL/PORT...]
 *
 * It serves those ports: it answers with its name and with the client's address as it sees it. And it
 * is a client: for each {@link Destination}, a line on stdin, it prints an {@link Outcome}, a line on
 * stdout. It ends when stdin ends.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, isIPv6 } from "node:net";
import { createInterface } from "node:readline";

export type Protocol = "tcp" | "udp";

/** A port to ask. */
export interface Destination {
  readonly protocol: Protocol;
  readonly address: string;
  readonly port: number;
  /** The source port for UDP; 0 for any. */
  readonly ownPort: number;
}

/** The result. "refused": nothing listens there. "silent": no answer within seconds. */
export interface Outcome {
  readonly kind: "answered" | "refused" | "silent";
  /** The server's name, or "". */
  readonly server: string;
  /** The client's address as the server sees it, or "". */
  readonly client: string;
}

/** Milliseconds to wait for an answer. */
const patience = 3000;

async function serve(name: string, protocol: string, port: number): Promise<void> {
  const answer = (address = ""): string => `${name} ${address.replace("::ffff:", "")}\n`;
  // "::" accepts both families.
  if (protocol === "tcp") {
    const server = createServer((socket) => {
      // A client that leaves early does not matter, nor does what it says.
      socket
        .on("error", () => undefined)
        .resume()
        .end(answer(socket.remoteAddress));
    });
    await once(server.listen(port, "::"), "listening");
    return;
  }
  const socket = createSocket("udp6", (_, from) => {
    socket.send(answer(from.address), from.port, from.address);
  });
  await once(socket.bind(port, "::"), "listening");
}

async function ask({ protocol, address, port, ownPort }: Destination): Promise<Outcome> {
  const signal = AbortSignal.timeout(patience);
  const outcome = (kind: Outcome["kind"], answer = ""): Outcome => {
    const [server = "", client = ""] = answer.trim().split(" ");
    return { kind, server, client };
  };
  try {
    const talk = protocol === "tcp" ? askTcp : askUdp;
    return outcome("answered", await talk(signal, address, port, ownPort));
  } catch (error) {
    if (signal.aborted) return outcome("silent");
    if (error instanceof Error && "code" in error && error.code === "ECONNREFUSED") {
      return outcome("refused");
    }
    throw error;
  }
}

async function askTcp(signal: AbortSignal, host: string, port: number): Promise<string> {
  const socket = connect({ host, port, signal });
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

async function askUdp(
  signal: AbortSignal,
  address: string,
  port: number,
  ownPort: number,
): Promise<string> {
  await using socket = createSocket({ type: isIPv6(address) ? "udp6" : "udp4", signal });
  await once(socket.bind(ownPort), "listening", { signal });
  socket.connect(port, address);
  await once(socket, "connect", { signal });
  socket.send("?");
  const heard: readonly unknown[] = await once(socket, "message", { signal });
  return String(heard[0]);
}

const [name = "", ...ports] = process.argv.slice(2);
for (const [protocol = "", port] of ports.map((text) => text.split("/"))) {
  await serve(name, protocol, Number(port));
}
process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await ask(JSON.parse(line) as Destination))}\n`);
}
process.exit();

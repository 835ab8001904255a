/**
 * Both ends of conversations, as a process of its own in some network namespace:
 *
 *     peer.ts NAME [PROTOCOL/PORT...]
 *
 * It serves those ports: whoever asks hears its name and the address that it sees at the other end.
 * And it asks itself: a {@link Destination} a line on stdin makes an {@link Outcome} a line on
 * stdout. It ends with its stdin.
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
  /** The port to ask from; 0 for any. With TCP it is always any. */
  readonly ownPort: number;
}

/** What came of asking. "refused": nothing is at that port. "silent": no answer within seconds. */
export interface Outcome {
  readonly kind: "answered" | "refused" | "silent";
  /** The answering peer's name, or "". */
  readonly server: string;
  /** Whom it sees, or "". */
  readonly client: string;
}

/** Milliseconds to wait for an answer. */
const patience = 3000;

async function serve(name: string, protocol: string, port: number): Promise<void> {
  const answer = (address = ""): string => `${name} ${address.replace("::ffff:", "")}`;
  // Both families come in by "::".
  if (protocol === "tcp") {
    const server = createServer((socket) => {
      // Somebody who goes away early is of no interest.
      socket.on("error", () => undefined).end(answer(socket.remoteAddress));
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
  const outcome = (kind: Outcome["kind"], said = ""): Outcome => {
    const [server = "", client = ""] = said.split(" ");
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
  let said = "";
  for await (const chunk of socket) said += String(chunk);
  return said;
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

/**
 * Listens where an agent would, and does to each client what it is told: well or badly.
 *
 * Each line of its input is what it does from then on, an array of {@link Step}, or "log", which it answers
 * with all that clients have said since, as JSON.
 */
import { once } from "node:events";
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";

const path = "/run/flannel-cni/agent/socket";
/** Has a line for each client that has accepted an offer. */
const acceptances = "/run/acceptances";
const header = 48;

/** What is done with a client, in turn; the connection ends after the last. */
export type Step =
  /** Waits for a whole request. */
  | "request"
  /** Waits for the byte that accepts an offer. From a client that leaves instead, the agent leaves as well. */
  | "acceptance"
  | { readonly say: string }
  | { readonly wait: number }
  /** Stops this whole process. */
  | "stop";

/** What one client has said, in latin1: its request, and what came after that. */
export interface Received {
  readonly request: string;
  readonly after: string;
}

let steps: readonly Step[] = [];
let log: Received[] = [];

async function serve(socket: Socket): Promise<void> {
  socket.on("error", () => undefined);
  const input = new Input(socket);
  for (const step of steps) {
    if (step === "request") await input.request();
    else if (step === "acceptance") {
      if (!(await input.acceptance())) break;
      appendFileSync(acceptances, "accepted\n");
    } else if (step === "stop") process.kill(process.pid, "SIGSTOP");
    else if ("say" in step) socket.write(step.say, "latin1");
    else await setTimeout(step.wait);
  }
  log.push(input.received());
  socket.destroySoon();
}

/** What a client says. */
class Input {
  readonly #socket: Socket;
  #bytes = Buffer.alloc(0);
  #requestEnd = 0;
  #hasEnded = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (data) => {
      this.#bytes = Buffer.concat([this.#bytes, Buffer.from(data)]);
    });
    socket.on("end", () => (this.#hasEnded = true)).on("close", () => (this.#hasEnded = true));
  }

  async request(): Promise<void> {
    await this.#has(header);
    const length = this.#hasEnded ? 0 : this.#bytes.readUInt32LE(40) + this.#bytes.readUInt32LE(44);
    await this.#has(header + length);
    this.#requestEnd = header + length;
  }

  /** @returns whether there was one. */
  async acceptance(): Promise<boolean> {
    return this.#has(this.#requestEnd + 1);
  }

  async #has(length: number): Promise<boolean> {
    while (this.#bytes.length < length && !this.#hasEnded) {
      const events = ["data", "close"].map((event) => once(this.#socket, event));
      // A client that is killed resets the connection.
      await Promise.race(events.map((event) => event.catch(() => undefined)));
    }
    return this.#bytes.length >= length;
  }

  received(): Received {
    const text = this.#bytes.toString("latin1");
    return { request: text.slice(0, this.#requestEnd), after: text.slice(this.#requestEnd) };
  }
}

mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
rmSync(path, { force: true });
writeFileSync(acceptances, "");
const server = createServer({ allowHalfOpen: true }, (socket) => void serve(socket));
await once(server.listen({ path, backlog: 4096 }), "listening");
process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "log") {
    process.stdout.write(`${JSON.stringify(log)}\n`);
    log = [];
  } else {
    steps = JSON.parse(line) as readonly Step[];
    process.stdout.write("ok\n");
  }
}
process.exit();

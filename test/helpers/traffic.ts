/** Servers that answer with their name and the client's address, and clients that wait for a bounded time. */
import type { Namespace } from "./cni.ts";

export type Protocol = "tcp" | "udp";

/** A server's answer: its name, and the client's address as it sees it. */
export interface Answer {
  readonly name: string;
  readonly peer: string;
}

const SERVER = `
const { createServer } = require("node:net");
const { createSocket } = require("node:dgram");
const [name, tcp, udp] = process.argv.slice(1);
let missing = 4;
const ready = () => { if (--missing === 0) process.stdout.write("ready\\n"); };
for (const host of ["0.0.0.0", "::"]) {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => socket.end(name + " " + socket.remoteAddress + "\\n"));
  });
  server.listen({ host, port: Number(tcp), ipv6Only: true }, ready);
  const socket = createSocket(host === "::" ? { type: "udp6", ipv6Only: true } : "udp4");
  socket.on("message", (_, { port, address }) => socket.send(name + " " + address + "\\n", port, address));
  socket.bind(Number(udp), host, ready);
}
`;

/**
 * Starts servers on a TCP and a UDP port, for both families. They answer each line with `name` and the
 * client's address, and end with the sandbox. Returns when all of them listen.
 */
export async function serve(
  namespace: Namespace,
  name: string,
  { tcp = 80, udp = 53 }: { readonly tcp?: number; readonly udp?: number } = {},
): Promise<void> {
  const env = { NODE: process.execPath, SERVER, NAME: name, TCP: String(tcp), UDP: String(udp) };
  const script = `
    log=$(mktemp -p /run)
    "$NODE" -e "$SERVER" "$NAME" "$TCP" "$UDP" >"$log" 2>&1 </dev/null &
    for try in $(seq 500); do
      if grep -q ready "$log"; then rm "$log"; exit 0; fi
      kill -0 $! || break
      sleep 0.01
    done
    cat "$log" >&2
    exit 1
  `;
  await namespace.sh(script, { env });
}

/** Not bash's own read, which reads one byte of a datagram and loses the rest. */
const ASK = 'exec 3<>"/dev/$1/$2/$3" && echo hello >&3 && exec head -n 1 <&3';

/** Asks a server for its name. Undefined if there is no answer in time. */
export async function ask(
  from: Namespace,
  protocol: Protocol,
  address: string,
  port: number,
  seconds = 3,
): Promise<Answer | undefined> {
  // The kernel would try a connection that nobody refuses for two minutes.
  const limit = ["-s", "KILL", String(seconds)];
  const client = ["bash", "-c", ASK, "ask", protocol, address, String(port)];
  const { exitCode, stdout } = await from.exec("timeout", [...limit, ...client]);
  if (exitCode !== 0) return undefined;
  const [name = "", peer = ""] = stdout.trim().split(" ");
  return { name, peer };
}

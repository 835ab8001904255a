/** Traffic between namespaces: servers that answer with their name and the client's address, and clients. */
import { fileURLToPath } from "node:url";
import { bun } from "../../scripts/build/bun.ts";
import type { Namespace } from "./namespace.ts";
import type { Destination, Outcome, Protocol } from "./peer.ts";

const program = fileURLToPath(import.meta.resolve("./peer.ts"));

/** A port to serve. */
export interface Port {
  readonly protocol: Protocol;
  readonly port: number;
}

/** A process in a namespace that serves ports and asks others. */
export interface Peer {
  readonly name: string;
  readonly ask: (to: Destination) => Promise<Outcome>;
  readonly stop: () => Promise<void>;
}

/** Starts a peer. It ends with the sandbox. */
export async function startPeer(
  namespace: Pick<Namespace, "name" | "start">,
  ports: readonly Port[] = [],
  name = namespace.name,
): Promise<Peer> {
  const specs = ports.map(({ protocol, port }) => `${protocol}/${port}`);
  // Bun starts in a third of the time.
  const runtime = bun ?? process.execPath;
  const { ask: askPeer, stop } = await namespace.start(runtime, [program, name, ...specs]);
  return {
    name,
    ask: async (to) => JSON.parse(await askPeer(JSON.stringify(to))) as Outcome,
    stop,
  };
}

/** Starts a server on a TCP and a UDP port, for both families. Returns when it listens. */
export async function serve(
  namespace: Namespace,
  name: string,
  { tcp = 80, udp = 53 }: { readonly tcp?: number; readonly udp?: number } = {},
): Promise<void> {
  const ports: readonly Port[] = [
    { protocol: "tcp", port: tcp },
    { protocol: "udp", port: udp },
  ];
  await startPeer(namespace, ports, name);
}

/** Not bash's own read, which reads one byte of a datagram and loses the rest. */
const ASK = 'exec 3<>"/dev/$1/$2/$3" && echo hello >&3 && exec head -n 1 <&3';

/** Asks a server once. Bash starts faster than a peer. Undefined if there is no answer in time. */
export async function ask(
  from: Pick<Namespace, "exec">,
  protocol: Protocol,
  address: string,
  port: number,
  seconds = 3,
): Promise<Pick<Outcome, "server" | "client"> | undefined> {
  // The kernel would try a connection that nobody refuses for two minutes.
  const limit = ["-s", "KILL", String(seconds)];
  const command = ["bash", "-c", ASK, "ask", protocol, address, String(port)];
  const { exitCode, stdout } = await from.exec("timeout", [...limit, ...command]);
  if (exitCode !== 0) return undefined;
  const [server = "", client = ""] = stdout.trim().split(" ");
  return { server, client };
}

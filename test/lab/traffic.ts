/** Traffic between namespaces, with Node.js on both ends. */
import { fileURLToPath } from "node:url";
import type { Namespace } from "./namespace.ts";
import type { Destination, Outcome, Protocol } from "./peer.ts";

const program = fileURLToPath(import.meta.resolve("./peer.ts"));

/** A process in a namespace that serves ports and asks others. */
export interface Peer {
  readonly name: string;
  readonly ask: (to: Destination) => Promise<Outcome>;
  readonly stop: () => Promise<void>;
}

/** Starts a peer that is named after its namespace. */
export async function startPeer(
  namespace: Namespace,
  ports: readonly { readonly protocol: Protocol; readonly port: number }[] = [],
): Promise<Peer> {
  const { name } = namespace;
  const specs = ports.map(({ protocol, port }) => `${protocol}/${port}`);
  const { ask, stop } = await namespace.start(process.execPath, [program, name, ...specs]);
  return {
    name,
    ask: async (to) => JSON.parse(await ask(JSON.stringify(to))) as Outcome,
    stop,
  };
}

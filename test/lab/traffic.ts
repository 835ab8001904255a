/** Conversations between namespaces, by nothing but Node.js. */
import { fileURLToPath } from "node:url";
import type { Namespace } from "./namespace.ts";
import type { Destination, Outcome, Protocol } from "./peer.ts";

const program = fileURLToPath(import.meta.resolve("./peer.ts"));

/** A process in a namespace that serves ports, and asks those of others. */
export interface Peer {
  readonly name: string;
  readonly ask: (to: Destination) => Promise<Outcome>;
  readonly stop: () => Promise<void>;
}

/** Starts a peer of a namespace's name. */
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

/** A node with an agent, and a client that does as it is told. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { bun } from "../../scripts/build/bun.ts";
import { startAgent } from "../helpers/agent.ts";
import { createSandbox, type CniJson, type Conf, type Sandbox } from "../helpers/cni.ts";
import type { Daemon } from "../helpers/flanneld.ts";
import { DUAL_STACK, writeSubnetEnv } from "../helpers/network.ts";
import type { AgentCall, CallAnswer, Move, Repetition } from "./agent_client_bun.ts";

const script = fileURLToPath(import.meta.resolve("./agent_client_bun.ts"));

export const flannelConf: Conf = {
  cniVersion: "1.0.0",
  name: "cbr0",
  type: "flannel",
  delegate: { hairpinMode: true, isDefaultGateway: true },
};

export interface Client {
  readonly repeat: (calls: readonly AgentCall[], times: number) => Promise<Repetition>;
  readonly tell: (move: Move) => Promise<unknown>;
  readonly call: (call: AgentCall) => Promise<CallAnswer>;
  readonly stop: () => Promise<void>;
}

export interface AgentLab extends AsyncDisposable {
  readonly node: Sandbox;
  readonly agent: Daemon;
  readonly buildId: string;
  /** Starts one more client, by another program if there is one. */
  readonly client: (...prefix: readonly string[]) => Promise<Client>;
}

/** Makes a node with an agent. */
export async function createAgentLab(
  args: readonly string[] = [],
  processes?: string,
): Promise<AgentLab> {
  const node = await createSandbox();
  await writeSubnetEnv(node, DUAL_STACK);
  const agent = await startAgent(node, args, processes);
  const clients: Client[] = [];
  return {
    node,
    agent,
    buildId: /build ([\da-f]{32})/.exec(agent.log())?.[1] ?? "",
    async client(...prefix) {
      const client = await startClient(node, prefix);
      clients.push(client);
      return client;
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) await client.stop();
      await node.close();
    },
  };
}

async function startClient(node: Sandbox, prefix: readonly string[]): Promise<Client> {
  const [program, ...args] = [...prefix, bun ?? "bun", script];
  const service = await node.start(program, args);
  const tell = async (move: Move): Promise<unknown> => {
    return JSON.parse(await service.ask(JSON.stringify(move))) as unknown;
  };
  return {
    tell,
    call: async (call) => (await tell({ do: "call", call })) as CallAnswer,
    repeat: async (calls, times) => (await tell({ do: "repeat", calls, times })) as Repetition,
    stop: service.stop,
  };
}

export type Verb = "ADD" | "DEL" | "CHECK" | "STATUS" | "VERSION" | "GC";

/** A call as a runtime makes it. */
export function callOf(
  { buildId }: AgentLab,
  verb: Verb,
  pod: string,
  conf: Conf = flannelConf,
  more: { env?: Readonly<Record<string, string>>; name?: string } = {},
): AgentCall {
  return {
    buildId,
    name: more.name ?? String(conf["type"]),
    env: {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: pod,
      CNI_NETNS: `/run/netns/${pod}`,
      CNI_IFNAME: conf["type"] === "loopback" ? "lo" : "eth0",
      CNI_PATH: "/opt/cni/bin",
      PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
      ...more.env,
    },
    conf: JSON.stringify(conf),
  };
}

/** The result of a call that must succeed. */
export function resultOf(answer: CallAnswer): CniJson {
  if (answer.code !== 0) throw new Error(`It answered ${JSON.stringify(answer)}`);
  return answer.stdout === "" ? {} : (JSON.parse(answer.stdout ?? "") as CniJson);
}

/** What an agent has open and in memory. */
export function usageOf(agent: Daemon): {
  descriptors: number;
  ownMegabytes: number;
  ticks: number;
} {
  const process = `/proc/${String(agent.pid())}`;
  const kilobytes = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`${process}/status`, "utf8"))?.[1];
  const [, fields = ""] = readFileSync(`${process}/stat`, "utf8").split(") ");
  const [user = 0, system = 0] = fields.split(" ").slice(11, 13).map(Number);
  return {
    descriptors: readdirSync(`${process}/fd`).length,
    ownMegabytes: Number(kilobytes) / 1024,
    ticks: user + system,
  };
}

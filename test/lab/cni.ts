/** Runs a plugin as a container runtime does: environment, config on stdin, JSON on stdout. */
import { join } from "node:path";
import { keepLastAddresses } from "./last_addresses.ts";
import type { Namespace } from "./namespace.ts";

/** Where plugins run: a sandbox, or another node. */
export type Node = Pick<Namespace, "exec">;

export type Command = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** One call of one plugin. The defaults are those of a first pod's eth0. */
export interface CniCall {
  /** The plugin's folder, and CNI_PATH unless `path` is given. */
  readonly bin: string;
  readonly plugin: string;
  readonly command: Command;
  readonly containerId?: string;
  readonly netns?: string;
  readonly ifname?: string;
  readonly args?: string;
  readonly path?: string;
  /** The config. Text or bytes are passed on unchanged. */
  readonly conf: Conf | string | Uint8Array;
  /** More variables; undefined removes one. */
  readonly extraEnv?: Readonly<Record<string, string | undefined>>;
  readonly timeout?: number;
  /** A program with arguments that executes the plugin, such as strace. */
  readonly prefix?: readonly string[];
}

/** A network configuration, or any other JSON object. */
export type Conf = Readonly<Record<string, unknown>>;

/** A plugin's answer. */
export interface CniAnswer {
  /** The exit code. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Stdout, if it is one JSON object. */
  readonly json: CniJson | undefined;
  readonly ms: number;
}

/** A result or an error of any CNI version. */
export interface CniJson {
  readonly cniVersion?: string;
  readonly supportedVersions?: readonly string[];
  readonly interfaces?: readonly ResultInterface[];
  readonly ips?: readonly ResultIp[];
  readonly routes?: readonly ResultRoute[];
  readonly dns?: Readonly<Record<string, unknown>>;
  readonly ip4?: LegacyIp;
  readonly ip6?: LegacyIp;
  readonly code?: number;
  readonly msg?: string;
  readonly details?: string;
}

export interface ResultInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  readonly sandbox?: string;
}

export interface ResultIp {
  readonly version?: string;
  readonly interface?: number;
  readonly address: string;
  readonly gateway?: string;
}

export interface ResultRoute {
  readonly dst: string;
  readonly gw?: string;
}

/** An address in a result of CNI 0.1.0 or 0.2.0. */
export interface LegacyIp {
  readonly ip: string;
  readonly gateway?: string;
  readonly routes?: readonly ResultRoute[];
}

/** How often an ADD is tried that ends with its agent, where agents die. */
const mostTries = 20;

/** How an ADD is made, and undone. */
export interface Addition<Answer> {
  readonly add: () => Promise<Answer>;
  readonly delete: () => Promise<void>;
  /** Where the ADD's error is. */
  readonly errorOf: (answer: Answer) => string;
}

/** Makes an ADD. It is made again if its agent has died, as a runtime does after a DEL. */
export async function addUntilEnded<Answer>(
  sandbox: Node,
  addition: Addition<Answer>,
): Promise<Answer> {
  if (process.env["AGENT_WAY"] !== "dying") return addition.add();
  const putBack = await keepLastAddresses(sandbox);
  for (let tries = 1; ; tries++) {
    const answer = await addition.add();
    const isLost = addition.errorOf(answer).includes("it ended during the call");
    if (!isLost || tries === mostTries) return answer;
    await addition.delete();
    // So that the next ADD gets the same addresses, for which tests look.
    await putBack();
  }
}

/** Calls a plugin in the node's network namespace, as a runtime does. */
export async function cni(sandbox: Node, call: CniCall): Promise<CniAnswer> {
  const add = async (): Promise<CniAnswer> => callOnce(sandbox, call);
  if (call.command !== "ADD") return add();
  return addUntilEnded(sandbox, {
    add,
    delete: async () => {
      const { code, stdout } = await callOnce(sandbox, { ...call, command: "DEL" });
      if (code !== 0) throw new Error(`DEL after an ADD that an agent has not ended: ${stdout}`);
    },
    errorOf: ({ stdout }) => stdout,
  });
}

async function callOnce(sandbox: Node, call: CniCall): Promise<CniAnswer> {
  const env: Readonly<Record<string, string | undefined>> = {
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerId ?? "pod1",
    CNI_NETNS: call.netns ?? "/run/netns/pod1",
    CNI_IFNAME: call.ifname ?? "eth0",
    CNI_ARGS: call.args,
    CNI_PATH: call.path ?? call.bin,
    ...call.extraEnv,
  };
  const set = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  const [program, ...rest] = [...(call.prefix ?? []), join(call.bin, call.plugin)];
  const result = await sandbox.exec(program, rest, {
    input: stdinOf(call.conf),
    env: Object.fromEntries(set),
    ...(call.timeout === undefined ? {} : { timeout: call.timeout }),
  });
  if (result.timedOut) throw new Error(`${call.plugin} ${call.command} took over ${result.ms} ms`);
  return {
    code: result.exitCode,
    stdout: result.stdout,
    stderr: result.stderr,
    json: parseObject(result.stdout),
    ms: result.ms,
  };
}

function stdinOf(conf: CniCall["conf"]): string | Uint8Array {
  return typeof conf === "string" || conf instanceof Uint8Array ? conf : JSON.stringify(conf);
}

/** Calls a plugin that must succeed, and returns its result ({} if it printed none). */
export async function cniOk(sandbox: Node, call: CniCall): Promise<CniJson> {
  const { code, stdout, stderr, json } = await cni(sandbox, call);
  if (code === 0) return json ?? {};
  throw new Error(`${call.plugin} ${call.command} exited with ${code}: ${stdout.trim()} ${stderr}`);
}

function parseObject(text: string): CniJson | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

import { fstatSync } from "node:fs";
import { isJsonArray, isJsonObject, parseJson } from "../base/json.ts";
import type { Json } from "../base/json.ts";
import { fold } from "../base/json_keys.ts";
import { flannelDataFolder, networksFolder, subnetFile, xtablesLock } from "../files/paths.ts";
import { commandFolders } from "../files/command.ts";
import type { SystemCalls } from "../runtime/system_calls.ts";
import type { AgentRequest } from "./protocol.ts";

/** What the agent takes. Everything else its clients do themselves. */
export interface Terms {
  readonly buildId: string;
  /** The names of the plugins. */
  readonly plugins: ReadonlySet<string>;
  /** Folders that a config may name as its data folder, besides the usual ones. */
  readonly dataFolders: readonly string[];
  /** The agent's own environment. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The inode number of the agent's own network namespace. */
  readonly ownNetns: number;
}

/**
 * Why a call is not for the agent, before anything of it is begun; undefined if it is.
 * @param netns the descriptor of the namespace at CNI_NETNS, if there is one.
 */
export function refusal(
  request: AgentRequest,
  netns: number | undefined,
  terms: Terms,
  system: SystemCalls,
): string | undefined {
  return (
    refusedClient(request, terms) ??
    refusedEnvironment(request, terms) ??
    refusedNetns(request, netns, terms, system) ??
    refusedConfig(request, terms)
  );
}

function refusedClient({ buildId, name }: AgentRequest, terms: Terms): string | undefined {
  if (buildId !== terms.buildId) return "the client is of another build";
  return terms.plugins.has(name) ? undefined : "there is no plugin of that name";
}

/** What containerd adds to the PATH of its plugins, for programs of its own. The agent does not look there. */
const runtimeFolders = ["/opt/containerd/bin", "/opt/nri/bin"];

function refusedEnvironment({ env }: AgentRequest, terms: Terms): string | undefined {
  if ((env["CNI_COMMAND"] ?? "") === "") return "CNI_COMMAND is not set";
  if ((env["CNI_NETNS_OVERRIDE"] ?? "") !== "") return "CNI_NETNS_OVERRIDE is set";
  // Whatever the agent executes must not be of the client's choice.
  const own = new Set([...commandFolders(terms.env["PATH"]), ...runtimeFolders]);
  const strange = commandFolders(env["PATH"]).find((folder) => !own.has(folder));
  if (strange !== undefined) return "PATH has a folder that the agent's PATH has not";
  const lock = env["XTABLES_LOCKFILE"] ?? xtablesLock;
  return lock === (terms.env["XTABLES_LOCKFILE"] ?? xtablesLock)
    ? undefined
    : "XTABLES_LOCKFILE is not the agent's";
}

function refusedNetns(
  { env }: AgentRequest,
  netns: number | undefined,
  { ownNetns }: Terms,
  system: SystemCalls,
): string | undefined {
  if ((env["CNI_NETNS"] ?? "") === "") return undefined;
  if (netns === undefined) return "nothing could be opened at CNI_NETNS";
  if (!system.isNetworkNamespace(netns)) return "CNI_NETNS is no network namespace";
  return fstatSync(netns).ino === ownNetns ? "CNI_NETNS is the node's own" : undefined;
}

function refusedConfig({ stdin, env, name }: AgentRequest, terms: Terms): string | undefined {
  if (env["CNI_COMMAND"] === "VERSION") return undefined;
  const conf = parseJson(Buffer.from(stdin).toString());
  if (!isJsonObject(conf)) return "the config is no JSON object";
  const types = [typeAt(conf, "ipam"), typeAt(conf, "delegate"), typeAt(conf["delegate"], "ipam")];
  const strange = types.find((type) => type !== undefined && !terms.plugins.has(type));
  if (strange !== undefined && name !== "portmap")
    return "it delegates to a plugin that is not built in";
  return refusedKeys(conf, terms, 0);
}

function typeAt(conf: Json | undefined, key: string): string | undefined {
  const inner = isJsonObject(conf) ? conf[key] : undefined;
  const type = isJsonObject(inner) ? inner["type"] : undefined;
  return typeof type === "string" ? type : undefined;
}

/** Levels that are looked at. No config has as many. */
const maxLevels = 20;

/** Looks for keys, in any letter case that Go takes, wherever they may be. */
function refusedKeys(value: Json, terms: Terms, level: number): string | undefined {
  if (level > maxLevels) return "the config is nested too deeply";
  if (isJsonArray(value)) return first(value, (item) => refusedKeys(item, terms, level + 1));
  if (!isJsonObject(value)) return undefined;
  return first(Object.entries(value), ([key, item]) => {
    return (
      refusedKey(fold(key), item ?? null, terms) ?? refusedKeys(item ?? null, terms, level + 1)
    );
  });
}

function refusedKey(key: string, value: Json, { dataFolders }: Terms): string | undefined {
  if (value === null || value === "" || value === false) return undefined;
  const usual: Readonly<Record<string, readonly string[]>> = {
    datadir: [flannelDataFolder, networksFolder, ...dataFolders],
    subnetfile: [subnetFile],
    resolvconf: [],
    // The call would wait for more than a second, and others with it.
    enabledad: [],
  };
  const allowed = Object.hasOwn(usual, key) ? usual[key] : undefined;
  if (allowed === undefined || (typeof value === "string" && allowed.includes(value))) {
    return undefined;
  }
  return key === "enabledad"
    ? "it waits for duplicate address detection"
    : `${key} is not the usual one`;
}

function first<T>(items: readonly T[], look: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = look(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

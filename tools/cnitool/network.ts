import { statSync } from "node:fs";
import { resolve } from "node:path";
import { CniError, Code } from "../../shared/cni/error.ts";
import { idProblem } from "../../shared/cni/request.ts";
import { quote } from "../../shared/base/text.ts";
import { Cache } from "../../shared/libcni/cache.ts";
import type { NetworkList } from "../../shared/libcni/list.ts";
import { loadNetwork } from "../../shared/libcni/load.ts";
import { Runtime } from "../../shared/libcni/runtime.ts";
import type { RuntimeConf } from "../../shared/libcni/runtime.ts";
import { UsageError } from "../../shared/cli/command.ts";
import type { Option } from "../../shared/cli/command.ts";
import type { Call, Command } from "./command.ts";
import { executor, explainer } from "./invoke.ts";
import { capabilityArgs, cniArgs, containerIdOf, ifnameOf, netFolder } from "./settings.ts";
import { quoted } from "./shell.ts";

/** The commands that call the plugins of a network: a verb of CNI each. */

export const explainOption: Option = {
  type: "boolean",
  text: "print what each plugin would be given, and execute none",
};

const containerOptions: Readonly<Record<string, Option>> = {
  ifname: {
    type: "string",
    short: "i",
    value: "NAME",
    text: "the interface inside the namespace (CNI_IFNAME, or eth0)",
  },
  "container-id": {
    type: "string",
    value: "ID",
    text: "the container's id, instead of one made of the namespace's path",
  },
  explain: explainOption,
};

export const add: Command = {
  name: "add",
  operands: "<net> <netns>",
  summary: "connect a namespace to a network",
  text: [
    "Executes the network's plugins one after another, as a container runtime does",
    "for a new pod, and prints the last one's result. The result is kept where",
    "runtimes keep theirs, so that check, del and ps know of it.",
    "",
    "<net> is the name in the network config, not the file's. <netns> is the path",
    "of the namespace: `ip netns add test` makes /run/netns/test.",
  ],
  options: containerOptions,
  examples: [
    "cnitool add cbr0 /run/netns/test",
    `CAP_ARGS='{"portMappings": [{"hostPort": 8080, "containerPort": 80}]}' cnitool add cbr0 /run/netns/test`,
  ],
  async run(call) {
    const { list, rt } = containerCall(call);
    requireNamespace(rt.netns);
    if (call.flags.has("explain")) {
      explain(call, list, rt, "ADD");
      return 0;
    }
    try {
      const result = runtimeOf(call).add(list, rt);
      if (result !== undefined) call.tool.terminal.json(result, 4);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      throw new CniError(
        error.code,
        error.message,
        `${error.details} To clean up: ${again(call, "del")}`,
        { cause: error },
      );
    }
    return 0;
  },
};

export const check: Command = {
  name: "check",
  operands: "<net> <netns>",
  summary: "see whether a namespace's network is as add made it",
  text: [
    "Asks each plugin of the network whether what it made still exists, and fails",
    "with the first thing that is missing or different.",
  ],
  options: containerOptions,
  examples: ["cnitool check cbr0 /run/netns/test"],
  async run(call) {
    const { list, rt } = containerCall(call);
    if (call.flags.has("explain")) explain(call, list, rt, "CHECK");
    else runtimeOf(call).check(list, rt);
    return 0;
  },
};

export const del: Command = {
  name: "del",
  operands: "<net> <netns>",
  summary: "disconnect a namespace from a network",
  text: [
    "Executes the network's plugins in reverse order to remove what add made. It",
    "succeeds if that is already gone, even the namespace: its path is enough to",
    "tell which container it was.",
    "",
    "You need not set CAP_ARGS and CNI_ARGS again: they are cached with the result.",
  ],
  options: containerOptions,
  examples: ["cnitool del cbr0 /run/netns/test"],
  async run(call) {
    const { list, rt } = containerCall(call);
    if (call.flags.has("explain")) explain(call, list, rt, "DEL");
    else runtimeOf(call).del(list, rt);
    return 0;
  },
};

export const status: Command = {
  name: "status",
  operands: "<net> [netns]",
  summary: "ask the plugins whether they could add a pod now",
  text: [
    "Asks each plugin of the network for its STATUS, and fails with the first that",
    "is not ready. That needs cniVersion 1.1.0 or later in the network config;",
    "cnitool doctor looks at more, in any version.",
  ],
  options: { explain: explainOption },
  examples: ["cnitool status cbr0"],
  async run(call) {
    const list = networkOf(call);
    const invoke = call.flags.has("explain") ? explainer(call.tool) : executor(call.tool);
    if (new Runtime(invoke, new Cache()).status(list)) return 0;
    call.tool.terminal.say(
      `${list.name} has cniVersion ${list.cniVersion || "0.1.0"}, which has no STATUS: nothing was asked. ${call.tool.cnitool} doctor looks all the same.`,
    );
    return 0;
  },
};

/** The network that a call is about. @throws CniError, UsageError */
export function networkOf({ tool, operands }: Call): NetworkList {
  const [name] = operands;
  if (name === undefined) throw new UsageError("the network's name is missing");
  return loadNetwork(netFolder(tool), name);
}

function runtimeOf({ tool }: Call): Runtime {
  return new Runtime(executor(tool), new Cache());
}

function containerCall(call: Call): { list: NetworkList; rt: RuntimeConf } {
  const { tool, operands, flags } = call;
  const [, given = ""] = operands;
  if (given === "") throw new UsageError("the namespace's path is missing");
  const list = networkOf(call);
  const netns = resolve(given);
  const containerId = flags.last("container-id") ?? containerIdOf(tool, netns);
  const problem = idProblem(containerId);
  if (problem !== undefined) {
    throw new UsageError(`the container's id ${problem} (got ${quote(containerId)})`);
  }
  const ifname = ifnameOf(tool, flags);
  const cached = new Cache().read(list.name, { containerId, ifname });
  const rt = {
    containerId,
    netns,
    ifname,
    args: cniArgs(tool) ?? cached?.args ?? [],
    capabilityArgs: capabilityArgs(tool) ?? cached?.capabilityArgs ?? {},
  };
  return { list, rt };
}

function requireNamespace(netns: string): void {
  if (statSync(netns, { throwIfNoEntry: false }) !== undefined) return;
  const name = /^(?:\/var)?\/run\/netns\/([^/]+)$/.exec(netns)?.[1];
  throw new CniError(
    Code.InvalidEnvironment,
    `Cannot add ${netns} to a network: there is nothing at that path.`,
    name === undefined
      ? "Give the path of a network namespace, such as /run/netns/NAME or /proc/PID/ns/net."
      : `Make the namespace first: ip netns add ${name}`,
  );
}

/** Prints what each plugin would be given. */
function explain(
  call: Call,
  list: NetworkList,
  rt: RuntimeConf,
  verb: "ADD" | "CHECK" | "DEL",
): void {
  const runtime = new Runtime(explainer(call.tool), new Cache(undefined, true));
  if (verb === "ADD") runtime.add(list, rt);
  else if (verb === "CHECK") runtime.check(list, rt);
  else runtime.del(list, rt);
}

/** The same call with another command, as a shell command. */
function again({ tool, operands, flags }: Call, command: string): string {
  const options = ["ifname", "container-id"].flatMap((name) => {
    const value = flags.last(name);
    return value === undefined ? [] : [`--${name}`, value];
  });
  return [tool.cnitool, ...[command, ...options, ...operands].map(quoted)].join(" ");
}

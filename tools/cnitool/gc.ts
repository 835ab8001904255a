import { readFileSync } from "node:fs";
import { messageOf } from "../../shared/base/failure.ts";
import { isJsonArray, isJsonObject, parseJson } from "../../shared/base/json.ts";
import { UsageError } from "../../shared/cli/command.ts";
import { CniError, Code } from "../../shared/cni/error.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import { ownedByNone } from "../../shared/ipam/reservation.ts";
import { Cache } from "../../shared/libcni/cache.ts";
import type { NetworkList } from "../../shared/libcni/list.ts";
import { Runtime } from "../../shared/libcni/runtime.ts";
import type { Call, Command, Tool } from "./command.ts";
import { executor, explainer, findPlugin } from "./invoke.ts";
import { explainOption, networkOf } from "./network.ts";
import { observeAttachments, validAttachments } from "./node/attachments.ts";
import { delegateChain } from "./node/delegate_chain.ts";
import { reservationsOf } from "./node/reservations.ts";
import { ruleOwners } from "./node/rule_owners.ts";
import { readEntry, readValidList } from "./valid_list.ts";

/** Bytes of a list; each attachment has about 80. */
const maxList = 8 * 1024 * 1024;

export const gc: Command = {
  name: "gc",
  operands: "<net> [netns]",
  summary: "remove everything that belongs to no listed attachment",
  text: [
    "Removes everything that pods have left on this node: addresses, rules, cached",
    "results. Only what you list as valid stays: a pod that is not on the list loses",
    "its network. So there is no default, and without a list nothing is done.",
    "`cnitool ps --valid` prints a list of the existing pods. Check it, then check",
    "the output of --dry-run, then run it.",
    "",
    "An attachment that is not valid gets a DEL; then each plugin is asked for GC.",
    'A network with "disableGC": true is left alone. GC came with cniVersion 1.1.0:',
    "in a network of an older version those plugins are asked that speak 1.1.0.",
  ],
  options: {
    valid: {
      type: "string",
      multiple: true,
      value: "CONTAINERID/IFNAME",
      text: "an attachment that stays; may be given many times",
    },
    "valid-file": {
      type: "string",
      value: "FILE",
      text: "a file with one CONTAINERID/IFNAME a line, or JSON; - for stdin. An empty file keeps nothing",
    },
    "dry-run": { type: "boolean", text: "list what would be removed, and do nothing" },
    explain: explainOption,
  },
  examples: [
    "cnitool ps --valid > /run/valid",
    "cnitool gc cbr0 --valid-file /run/valid --dry-run",
    "cnitool gc cbr0 --valid-file /run/valid",
    "cnitool gc cbr0 --valid 0123456789ab/eth0 --dry-run",
  ],
  async run(call) {
    const list = networkOf(call);
    const valid = readValid(call);
    if (list.disableGC) {
      call.tool.terminal.say(
        `${list.name} has "disableGC": true in ${list.file}: nothing is done.`,
      );
      return 0;
    }
    if (call.flags.has("dry-run")) await dryRun(call, list, valid);
    else {
      const isExplained = call.flags.has("explain");
      const invoke = isExplained ? explainer(call.tool) : executor(call.tool);
      const cache = new Cache(undefined, isExplained);
      new Runtime(invoke, cache).gc(list, valid, (type) => speaksGc(call, type));
    }
    return 0;
  },
};

/** The attachments that are valid. @throws UsageError without a list; CniError */
function readValid({ tool, flags }: Call): Attachment[] {
  const given = flags.all("valid");
  const files = flags.all("valid-file");
  if (given.length === 0 && files.length === 0) {
    throw new UsageError(
      "--valid or --valid-file must be given: without a list of valid attachments every pod would lose its network",
    );
  }
  const listed = files.flatMap((file) => {
    if (file !== "-") return readValidList(readFile(tool, file));
    const list = readValidList(tool.node.sys.readStdin(maxList));
    if (list.length === 0) refuseIfAttached(tool);
    return list;
  });
  return [...given.map(readEntry), ...listed];
}

/**
 * Refuses an empty list: the command that should have written it may have failed.
 * @throws UsageError if anything is attached.
 */
function refuseIfAttached(tool: Tool): void {
  const attached = validAttachments(observeAttachments(tool, tool.node.host.links()));
  if (attached.length === 0) return;
  throw new UsageError(
    `stdin is empty, but ${attached.length} attachments exist. To remove them all, pass an empty file: --valid-file /dev/null`,
  );
}

function readFile({ cnitool }: Tool, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new CniError(
      Code.IoFailure,
      `Cannot read the list of valid attachments: ${messageOf(cause)}.`,
      `Make one with: ${cnitool} ps --valid > FILE`,
      { cause },
    );
  }
}

/** Whether a plugin speaks the version that has GC. */
function speaksGc({ tool }: Call, type: string): boolean {
  const answer = tool.node.sys.run(findPlugin(tool, type), [], {
    input: '{"cniVersion": "1.1.0"}',
    env: { ...tool.node.sys.env, CNI_COMMAND: "VERSION" },
    timeout: 10_000,
    maxOutput: 65_536,
  });
  const output = parseJson(answer.stdout);
  const versions = isJsonObject(output) ? output["supportedVersions"] : undefined;
  return isJsonArray(versions) && versions.includes("1.1.0");
}

/** Prints what a GC would remove, as far as this executable knows how the plugins work. */
async function dryRun(call: Call, list: NetworkList, valid: readonly Attachment[]): Promise<void> {
  const { tool } = call;
  const lines: string[] = [];
  const runtime = new Runtime(executor(tool), new Cache(undefined, true));
  const { cached } = observeAttachments(tool, tool.node.host.links());
  const states = new Map(
    cached.map(({ network, state, ...attachment }) => [keyOf(network, attachment), state]),
  );
  for (const { netns, ...attachment } of runtime.stale(list, valid)) {
    const isGone = states.get(keyOf(list.name, attachment)) === "gone";
    const state = isGone ? "which is gone" : "which exists, and would lose its network";
    lines.push(`attachment ${attachment.containerId}/${attachment.ifname} (${netns}, ${state})`);
  }
  for (const plugin of list.plugins) {
    const { chain } = await delegateChain(tool, list, plugin);
    const { reservations = [] } = reservationsOf(tool, chain) ?? {};
    for (const { file, owner } of ownedByNone(reservations, valid)) {
      const whose = owner === undefined ? "nobody" : `${owner.containerId}/${owner.ifname ?? ""}`;
      lines.push(`address ${file} (of ${whose})`);
    }
  }
  const validIds = new Set(valid.map(({ containerId }) => containerId));
  for (const { network, containerId, where } of ruleOwners(tool.firewall)) {
    if (network !== list.name || validIds.has(containerId)) continue;
    lines.push(`rules of ${containerId} (${where})`);
  }
  if (lines.length === 0) tool.terminal.line("Nothing would be removed.");
  for (const line of lines) tool.terminal.line(line);
}

function keyOf(network: string, { containerId, ifname }: Attachment): string {
  return `${network} ${containerId} ${ifname}`;
}

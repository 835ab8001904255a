import { formatAddress } from "../../shared/net/address.ts";
import { printable } from "../../shared/base/text.ts";
import type { Link } from "../../shared/node/node.ts";
import type { Command, Tool } from "./command.ts";
import { observeAttachments, validAttachments } from "./node/attachments.ts";
import type {
  Attachments,
  CachedAttachment,
  DamagedAttachment,
  UnrecordedAttachment,
} from "./node/attachments.ts";
import { withContainer } from "../../shared/node/namespaces.ts";
import { hostPortsOf, podOf } from "./node/plugin_call.ts";
import { formatEntry } from "./valid_list.ts";

/** One line of the table. */
interface Row {
  readonly pod: string | undefined;
  readonly containerId: string;
  readonly network: string;
  readonly interface: string;
  readonly addresses: readonly string[];
  /** The host's end of the pod's veth, and the bridge that it is a port of. */
  readonly port: string | undefined;
  readonly bridge: string | undefined;
  readonly hostPorts: readonly string[];
  /** When ADD was done; undefined where no result says it. */
  readonly since: string | undefined;
  readonly netns: string;
  readonly alive: boolean;
  /** What is wrong with its kept result; undefined where nothing is. */
  readonly problem: string | undefined;
}

/** Characters of a container's id in the table, as crictl shows it. */
const shortId = 13;

export const ps: Command = {
  name: "ps",
  operands: "",
  summary: "list the pods on this node: address, interface, port, host ports",
  text: [
    "Lists what runtimes, and cnitool, have attached to networks, by the results",
    "that they keep in /var/lib/cni/results. PORT is the host's end of the pod's",
    'veth and the bridge that it is in. "gone" after the time: the namespace is no',
    'longer there, and nobody has run DEL for it. "unreadable" or "no result": the',
    "result is damaged or missing, and the pod is taken for alive. Loopback",
    "interfaces are left out.",
  ],
  options: {
    json: { type: "boolean", text: "print a JSON array, with whole ids and paths" },
    valid: {
      type: "boolean",
      text: "print CONTAINERID/IFNAME of every pod that may exist, one a line, as gc --valid-file reads them",
    },
  },
  examples: ["cnitool ps", "cnitool ps --json", "cnitool ps --valid > /run/valid"],
  async run({ tool, flags }) {
    const { node, terminal } = tool;
    const links = node.host.links();
    const attachments = observeAttachments(tool, links);
    for (const { file, problem, candidates } of attachments.damaged) {
      if (candidates.length > 0) continue;
      terminal.say(
        `The cached result ${file} ${problem}, and its name matches no attachment. ${tool.cnitool} doctor says what to do.`,
      );
    }
    if (flags.has("valid")) {
      for (const attachment of validAttachments(attachments))
        terminal.line(formatEntry(attachment));
      return 0;
    }
    const rows = rowsOf(tool, attachments, links);
    if (flags.has("json")) terminal.json(rows);
    else for (const line of tableOf(rows)) terminal.line(line);
    return 0;
  },
};

function rowsOf(
  tool: Tool,
  { cached, damaged, unrecorded }: Attachments,
  links: readonly Link[],
): Row[] {
  const byName = new Map(links.map((link) => [link.name, link]));
  const byIndex = new Map(links.map((link) => [link.index, link]));
  // containerd keeps a result for each pod's loopback, too.
  const shown = cached.filter(({ ifname }) => ifname !== "lo");
  return [
    ...shown.map((attachment) => {
      const port = portOf(tool, attachment, byName, byIndex);
      return cachedRow(attachment, port, byIndex.get(port?.master ?? 0));
    }),
    ...damaged.flatMap(damagedRows),
    ...unrecorded.map(unrecordedRow),
  ];
}

function cachedRow(
  attachment: CachedAttachment,
  port: Link | undefined,
  bridge: Link | undefined,
): Row {
  const { containerId, network, ifname, netns, addResult, since, state } = attachment;
  return {
    pod: podOf(attachment),
    containerId,
    network,
    interface: ifname,
    addresses: (addResult?.ips ?? []).map(({ address }) => formatAddress(address.address)),
    port: port?.name,
    bridge: bridge?.name,
    hostPorts: hostPortsOf(attachment).map(({ hostIP, hostPort, containerPort, protocol }) => {
      const host = hostIP === "" ? "" : `${hostIP.includes(":") ? `[${hostIP}]` : hostIP}:`;
      return `${host}${hostPort}->${containerPort}/${protocol}`;
    }),
    since: since.toISOString(),
    netns,
    alive: state !== "gone",
    problem: undefined,
  };
}

const unknownRow = {
  pod: undefined,
  port: undefined,
  bridge: undefined,
  hostPorts: [],
  since: undefined,
  alive: true,
} as const;

function damagedRows({ candidates, reserved }: DamagedAttachment): Row[] {
  return candidates.map(({ network, containerId, ifname }) => ({
    ...unknownRow,
    containerId,
    network,
    interface: ifname,
    addresses: reserved.map(({ address }) => formatAddress(address)),
    netns: "",
    problem: "unreadable",
  }));
}

function unrecordedRow(attachment: UnrecordedAttachment): Row {
  const { network, containerId, ifname, address, namespace } = attachment;
  return {
    ...unknownRow,
    containerId,
    network,
    interface: ifname,
    addresses: [formatAddress(address)],
    netns: namespace?.path ?? "",
    problem: "no result",
  };
}

/** The host's end of an attachment's veth: as the result has it, or as the namespace says. */
function portOf(
  { node }: Tool,
  { addResult, netns, ifname, state }: CachedAttachment,
  byName: ReadonlyMap<string, Link>,
  byIndex: ReadonlyMap<number, Link>,
): Link | undefined {
  const known = (addResult?.interfaces ?? [])
    .filter(({ sandbox }) => (sandbox ?? "") === "")
    .map(({ name }) => byName.get(name))
    .find((link) => link?.kind === "veth");
  if (known !== undefined || state === "gone") return known;
  const inside = withContainer(node, netns, (container) => container.link(ifname));
  const port = byIndex.get(inside?.peer ?? 0);
  return port?.kind === "veth" && port.peer === inside?.index ? port : undefined;
}

const heads = ["POD", "NETWORK", "INTERFACE", "ADDRESSES", "PORT", "HOST PORTS", "SINCE"];

function tableOf(rows: readonly Row[]): string[] {
  const lines = rows.map((row) => [
    row.pod ?? row.containerId.slice(0, shortId),
    row.network,
    row.interface,
    row.addresses.join(","),
    row.port === undefined ? "" : `${row.port}${row.bridge === undefined ? "" : `@${row.bridge}`}`,
    row.hostPorts.join(","),
    row.problem ?? `${row.since?.slice(0, 16).replace("T", " ")}${row.alive ? "" : " gone"}`,
  ]);
  const all = [heads, ...lines].map((line) => line.map(printable));
  const widths = heads.map((_, at) => Math.max(...all.map((line) => line[at]?.length ?? 0)));
  return all
    .map((line) => line.map((cell, at) => (cell || "-").padEnd(widths[at] ?? 0)).join("  "))
    .map((line) => line.trimEnd());
}

import type { Link } from "../../shared/node/node.ts";
import { formatAddress } from "../../shared/net/address.ts";
import { printable } from "../../shared/base/text.ts";
import type { Command, Tool } from "./command.ts";
import { attachments, hostPortsOf, podOf } from "./node/attachments.ts";
import type { Attached } from "./node/attachments.ts";

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
  readonly since: string;
  readonly netns: string;
  readonly alive: boolean;
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
    'veth and the bridge that it is in. "gone" after the time says that the',
    "namespace is no longer there, and nobody has run DEL for it. Loopback interfaces",
    "are left out.",
  ],
  options: {
    json: { type: "boolean", text: "print a JSON array, with whole ids and paths" },
    valid: {
      type: "boolean",
      text: "print CONTAINERID/IFNAME of those that are there, a line each, as gc --valid-file takes them",
    },
  },
  examples: ["cnitool ps", "cnitool ps --json", "cnitool ps --valid > /run/valid"],
  async run({ tool, flags }) {
    const all = attachments(tool.node);
    if (flags.has("valid")) {
      const there = all.filter(({ isAlive }) => isAlive);
      for (const { containerId, ifname } of there) tool.terminal.line(`${containerId}/${ifname}`);
      return 0;
    }
    const links = tool.node.host.links();
    // containerd keeps a result for each pod's loopback, too.
    const shown = all.filter(({ ifname }) => ifname !== "lo");
    const rows = shown.map((one) => rowOf(tool, one, links));
    if (flags.has("json")) tool.terminal.json(rows);
    else for (const line of tableOf(rows)) tool.terminal.line(line);
    return 0;
  },
};

function rowOf(tool: Tool, attached: Attached, links: readonly Link[]): Row {
  const { containerId, network, ifname, netns, made, since, isAlive } = attached;
  const port = portOf(tool, attached, links);
  return {
    pod: podOf(attached),
    containerId,
    network,
    interface: ifname,
    addresses: (made?.ips ?? []).map(({ address }) => formatAddress(address.address)),
    port: port?.name,
    bridge: links.find(({ index }) => index === port?.master)?.name,
    hostPorts: hostPortsOf(attached).map(({ hostIP, hostPort, containerPort, protocol }) => {
      const host = hostIP === "" ? "" : `${hostIP.includes(":") ? `[${hostIP}]` : hostIP}:`;
      return `${host}${hostPort}->${containerPort}/${protocol}`;
    }),
    since: since.toISOString(),
    netns,
    alive: isAlive,
  };
}

/** The host's end of an attachment's veth: as the result has it, or as the namespace says. */
function portOf(
  { node }: Tool,
  { made, netns, ifname, isAlive }: Attached,
  links: readonly Link[],
): Link | undefined {
  const named = (made?.interfaces ?? [])
    .filter(({ sandbox }) => (sandbox ?? "") === "")
    .map(({ name }) => links.find((link) => link.name === name && link.kind === "veth"));
  const known = named.find((link) => link !== undefined);
  if (known !== undefined || !isAlive) return known;
  const inside = node.container(netns, false)?.link(ifname);
  return links.find(({ index, peer, kind }) => {
    return kind === "veth" && index === inside?.peer && peer === inside.index;
  });
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
    `${row.since.slice(0, 16).replace("T", " ")}${row.alive ? "" : " gone"}`,
  ]);
  const all = [heads, ...lines].map((line) => line.map(printable));
  const widths = heads.map((_, at) => Math.max(...all.map((line) => line[at]?.length ?? 0)));
  return all
    .map((line) => line.map((cell, at) => (cell || "-").padEnd(widths[at] ?? 0)).join("  "))
    .map((line) => line.trimEnd());
}

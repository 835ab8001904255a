/**
 * All network state of a node as lines of text by section, to compare two moments.
 *
 * It leaves out what changes by itself (timers, counters, carrier, link-local addresses) and what has
 * no effect (built-in chains of iptables, an nftables table without rules).
 */
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { PRIVATE_DIRECTORIES } from "./files.ts";
import { addressesOf, parseList, type Link, type Route, type Rule } from "./inspect.ts";
import type { Holder } from "./holder.ts";
import { mountsOf } from "./mounts.ts";
import { iptablesLines, nftLines } from "./rules.ts";

/** Sorted lines of each section. Two snapshots of the same state are deeply equal. */
export type Snapshot = Readonly<Record<string, readonly string[]>>;

/** The node to take a snapshot of. */
export interface SnapshotSource {
  /** Runs a shell script in the node's network namespace and returns its output. */
  readonly sh: (script: string) => Promise<string>;
  /** The sandbox's holder; none for the machine itself. */
  readonly holder?: Pick<Holder, "pid" | "machineMounts">;
}

/**
 * Prints each section after a line with its name. Tests take many snapshots, so this starts few
 * processes: it asks iptables only if the kernel has something of it.
 */
const SCRIPT = `
section() { printf '@@ %s\\n' "$1"; }
look() {
  section "ip $1"
  shift
  # \`ip -n\` would make a mount namespace each time.
  "$@" ip -d -j -b - <<BATCH
address
route show table all
rule
BATCH
}
has_tables() { [ -r "$1" ] && read -r name < "$1"; }
look host
section "rule6 host"
ip -6 -j rule
for path in /run/netns/*; do
  [ ! -e "$path" ] || look "\${path##*/}" nsenter "--net=$path"
done
ruleset=$(nft -j list ruleset)
section nft
echo "$ruleset"
# Each of these starts a process: only what is there is listed.
case $ruleset in *'"family": "ip"'*) section iptables-nft; iptables-nft-save ;; esac
case $ruleset in *'"family": "ip6"'*) section ip6tables-nft; ip6tables-nft-save ;; esac
if has_tables /proc/net/ip_tables_names; then section iptables-legacy; iptables-legacy-save; fi
if has_tables /proc/net/ip6_tables_names; then section ip6tables-legacy; ip6tables-legacy-save; fi
exit 0
`;

/** How long a snapshot waits for new addresses. */
const SETTLE_LIMIT_MS = 10_000;

const FIREWALL_SECTIONS = [
  "nft",
  "iptables-nft",
  "ip6tables-nft",
  "iptables-legacy",
  "ip6tables-legacy",
];

/** Takes a snapshot of links, addresses, routes, rules, firewall, namespaces, mounts, files, processes. */
export async function takeSnapshot({ sh, holder }: SnapshotSource): Promise<Snapshot> {
  const output = await settledOutput(sh);
  const lines: Record<string, readonly string[]> = Object.fromEntries(
    FIREWALL_SECTIONS.map((section) => [section, []]),
  );
  const collect = (section: string, found: readonly string[]): void => {
    lines[section] = [...(lines[section] ?? []), ...found].toSorted();
  };
  for (const part of `\n${output}`.split("\n@@ ").slice(1)) {
    const [title = "", ...rest] = part.split("\n");
    const [section = "", place = ""] = title.split(" ");
    const text = rest.join("\n");
    if (section === "ip") {
      // One batch gives three answers, a line each.
      const [links = "", routes = "", rules = ""] = text.split("\n");
      collect("links", linkLines(parseList(links) as readonly Link[], place));
      collect("addresses", addressLines(parseList(links) as readonly Link[], place));
      collect("routes", routeLines(parseList(routes) as readonly Route[], place));
      collect("rules", ruleLines(parseList(rules) as readonly Rule[], place));
      if (place !== "host") collect("namespaces", [place]);
    } else if (section === "rule6") {
      collect("rules", ruleLines(parseList(text) as readonly Rule[], `${place} ipv6`));
    } else {
      // Not sorted: the order of firewall rules matters.
      lines[section] = section === "nft" ? nftLines(text) : iptablesLines(text);
    }
  }
  if (holder !== undefined) {
    lines["mounts"] = mountLines(holder);
    lines["files"] = PRIVATE_DIRECTORIES.flatMap((directory) => fileLines(holder, directory));
    lines["processes"] = await settledProcesses(holder);
  }
  return lines;
}

/** The kernel makes a new IPv6 address's routes later, by a worker, and until then it is tentative. */
async function settledOutput(sh: SnapshotSource["sh"]): Promise<string> {
  const end = performance.now() + SETTLE_LIMIT_MS;
  for (;;) {
    const output = await sh(SCRIPT);
    const unsettled = [...output.matchAll(/^@@ ip .*\n(.*)\n(.*)$/gm)].some(
      ([, links = "", routes = ""]) =>
        (parseList(links) as readonly Link[]).some((link) => isUnsettled(link, routes)),
    );
    if (!unsettled || performance.now() > end) return output;
    await setTimeout(20);
  }
}

/** Without a carrier it stays tentative. */
function isUnsettled({ ifname, operstate, addr_info }: Link, routes: string): boolean {
  return addr_info.some(({ family, scope, tentative, local }) => {
    if (family !== "inet6" || scope !== "global" || operstate !== "UP") return false;
    if (tentative === true) return true;
    return !(parseList(routes) as readonly Route[]).some(
      ({ type, dst, dev }) => type === "local" && dst === local && dev === ifname,
    );
  });
}

/** The differences, a line each: "+ section: line" for what is new, "- section: line" for what is gone. */
export function difference(before: Snapshot, after: Snapshot): readonly string[] {
  const sections = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return sections.flatMap((section) => {
    const old = before[section] ?? [];
    const now = after[section] ?? [];
    return [
      ...now.filter((line) => !old.includes(line)).map((line) => `+ ${section}: ${line}`),
      ...old.filter((line) => !now.includes(line)).map((line) => `- ${section}: ${line}`),
    ];
  });
}

function linkLines(links: readonly Link[], place: string): readonly string[] {
  return links.map(({ linkinfo, ...link }) => {
    const { info_kind, info_data, info_slave_data } = linkinfo ?? {};
    const words = [
      info_kind ?? "device",
      link.address ?? "",
      `mtu ${link.mtu}`,
      link.flags.includes("UP") ? "up" : "down",
      link.master === undefined ? "" : `master ${link.master}`,
      info_data?.vlan_filtering === 1 ? "vlan_filtering" : "",
      info_slave_data?.hairpin === true ? "hairpin" : "",
      info_slave_data?.isolated === true ? "isolated" : "",
    ];
    return [place, link.ifname, ...words.filter(Boolean)].join(" ");
  });
}

function addressLines(links: readonly Link[], place: string): readonly string[] {
  return addressesOf(links)
    .filter(({ scope, family }) => !(family === "inet6" && scope === "link"))
    .map(({ ifname, local, prefixlen }) => `${place} ${ifname} ${local}/${prefixlen}`);
}

function routeLines(routes: readonly Route[], place: string): readonly string[] {
  return routes
    .filter(({ dst }) => !dst.startsWith("fe80:") && !dst.startsWith("ff00:"))
    .map(({ dst, type, gateway, dev, table, protocol, scope, prefsrc, metric }) => {
      const fields = {
        type,
        via: gateway,
        dev,
        table,
        proto: protocol,
        scope,
        src: prefsrc,
        metric,
      };
      const words = Object.entries(fields).filter(([, value]) => value !== undefined);
      return [place, dst, ...words.map(([key, value]) => `${key} ${value}`)].join(" ");
    });
}

function ruleLines(rules: readonly Rule[], place: string): readonly string[] {
  return rules.map(
    ({ priority, src, dst, table }) =>
      `${place} ${priority}: from ${src} to ${dst ?? "all"} table ${table ?? "none"}`,
  );
}

function mountLines({
  pid,
  machineMounts,
}: Pick<Holder, "pid" | "machineMounts">): readonly string[] {
  return mountsOf(pid)
    .filter(({ id }) => !machineMounts.has(id))
    .map(({ path, type }) => `${path} ${type}`)
    .toSorted();
}

function fileLines({ pid }: Pick<Holder, "pid">, directory: string): readonly string[] {
  const root = `/proc/${pid}/root`;
  try {
    const entries = readdirSync(root + directory, { recursive: true, withFileTypes: true });
    // The kernel's files of the namespaces are in the list of namespaces.
    const files = entries.filter(
      (entry) => !entry.isDirectory() && !entry.parentPath.endsWith("/netns"),
    );
    return files.map((entry) => join(entry.parentPath, entry.name).slice(root.length)).toSorted();
  } catch {
    return [];
  }
}

/**
 * Some end by themselves: one that has been killed, and the orphan to which a DEL without an agent leaves its last
 * request (docs/decisions/0029).
 */
async function settledProcesses(holder: Pick<Holder, "pid">): Promise<readonly string[]> {
  const end = performance.now() + SETTLE_LIMIT_MS;
  for (;;) {
    const found = liveProcesses(holder);
    const isSettled = !found.some(({ isEnding }) => isEnding);
    if (isSettled || performance.now() > end) return found.map(({ words }) => words).toSorted();
    await setTimeout(5);
  }
}

/** Those in the sandbox's PID namespace, except process 1, the holder. */
function liveProcesses({ pid }: Pick<Holder, "pid">) {
  const proc = `/proc/${pid}/root/proc`;
  const names = readdirSync(proc).filter((name) => /^\d+$/.test(name) && name !== "1");
  return names.flatMap((name) => {
    const folder = `${proc}/${name}`;
    try {
      const isEnding = isKilled(folder) || hasOneSocket(folder);
      const words = readFileSync(`${folder}/cmdline`, "utf8").split("\0").join(" ").trim();
      // One that has ended has no executable, not even until it is collected. It may just have ended.
      readlinkSync(`${folder}/exe`);
      return [{ words, isEnding }];
    } catch {
      return [];
    }
  });
}

/** Whether SIGKILL is pending, or the kernel ends it already (PF_EXITING, PF_SIGNALED). */
function isKilled(folder: string): boolean {
  const status = readFileSync(`${folder}/status`, "utf8");
  const pending = [...status.matchAll(/^(?:SigPnd|ShdPnd):\s*([\da-f]+)$/gm)];
  if (pending.some(([, set = ""]) => (BigInt(`0x${set}`) & (1n << 8n)) !== 0n)) return true;
  const stat = readFileSync(`${folder}/stat`, "utf8");
  const flags = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[6]);
  return (flags & (0x4 | 0x400)) !== 0;
}

/** An orphan has no other file. */
function hasOneSocket(folder: string): boolean {
  const [target, ...rest] = readdirSync(`${folder}/fd`).map((file) =>
    readlinkSync(`${folder}/fd/${file}`),
  );
  return rest.length === 0 && target?.startsWith("socket:") === true;
}

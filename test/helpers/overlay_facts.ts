/**
 * What joins a node to others, as lines of text that are the same on every machine: MAC addresses are
 * named by the order of their devices, and what is the test's own is left out. The goldens of the Go
 * flanneld in test/golden/flanneld are in this form.
 */
import { parseList } from "../lab/inspect.ts";

/** The commands whose outputs are read, by the sections of the facts. */
export const factCommands = {
  links: "ip -d -j link show",
  addresses: "ip -d addr show",
  routes: "ip -4 route show table main",
  routes6: "ip -6 route show table main",
  fdb: "bridge fdb show",
  neighbours: "ip neigh show nud all",
  iptables: "iptables-save",
  ip6tables: "ip6tables-save",
  nft: "nft list ruleset",
} as const;

export type Section = keyof typeof factCommands;
export type Facts = Readonly<Record<Section, readonly string[]>>;

/**
 * @param outputs of {@link factCommands}.
 * @param names of MACs that nodes have told, such as those of peers' devices.
 */
export function readFacts(
  outputs: Readonly<Record<Section, string>>,
  names: ReadonlyMap<string, string>,
): Facts {
  const named = (lines: readonly string[]): string[] =>
    lines.map((line) =>
      line.replaceAll(/\b(?:[\da-f]{2}:){5}[\da-f]{2}\b/g, (mac) => names.get(mac) ?? mac),
    );
  return {
    links: named(linkLines(outputs.links)),
    addresses: addressLines(outputs.addresses),
    routes: routeLines(outputs.routes),
    routes6: routeLines(outputs.routes6),
    fdb: named(linesOf(outputs.fdb).filter((line) => / dev flannel\S* dst /.test(line))).toSorted(),
    neighbours: named(
      linesOf(outputs.neighbours).filter((line) =>
        / dev flannel\S* lladdr .* PERMANENT$/.test(line),
      ),
    ).toSorted(),
    iptables: iptablesLines(outputs.iptables),
    ip6tables: iptablesLines(outputs.ip6tables),
    nft: nftLines(outputs.nft),
  };
}

/** The facts of a golden, and the text of facts. */
export function parseFacts(text: string): Facts {
  const parts = text.split(/^# /m).slice(1);
  const sections = parts.map((part) => {
    const [name = "", ...lines] = part.trimEnd().split("\n");
    return [name, lines] as const;
  });
  return Object.fromEntries(sections) as unknown as Facts;
}

export function formatFacts(facts: Facts): string {
  return Object.entries(facts)
    .map(([name, lines]) => `# ${name}\n${lines.map((line) => `${line}\n`).join("")}`)
    .join("");
}

function linesOf(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "");
}

/** Of what `ip -d -j link show` says of a vxlan device. Versions differ in what they print as text. */
interface VxlanLink {
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly txqlen?: number;
  readonly address: string;
  readonly linkinfo: {
    readonly info_data: {
      readonly id: number;
      readonly local?: string;
      readonly local6?: string;
      readonly link: string;
      readonly port_range: { readonly low: number; readonly high: number };
      readonly port: number;
      readonly learning: boolean;
      readonly ttl: number;
      readonly ageing: number;
      readonly udp_csum: boolean;
      readonly udp_zero_csum6_tx: boolean;
      readonly udp_zero_csum6_rx: boolean;
      /** There if it is so. */
      readonly gbp?: true | null;
    };
  };
}

/** One line for a vxlan device: its flags, its MTU, its MAC and its options, as iproute2 6.1 prints them. */
function linkLines(text: string): string[] {
  const links = parseList(text) as readonly VxlanLink[];
  return links
    .filter(({ ifname }) => ifname.startsWith("flannel"))
    .map(({ ifname, flags, mtu, txqlen, address, linkinfo }) => {
      const data = linkinfo.info_data;
      const { id, local, local6, link, port_range: range, port, ttl, ageing } = data;
      const options = [
        `vxlan id ${id} local ${local ?? local6} dev ${link}`,
        `srcport ${range.low} ${range.high} dstport ${port}`,
        ...(data.learning ? [] : ["nolearning"]),
        `ttl ${ttl === 0 ? "auto" : ttl} ageing ${ageing} ${noUnless(data.udp_csum)}udpcsum`,
        `${noUnless(data.udp_zero_csum6_tx)}udp6zerocsumtx`,
        `${noUnless(data.udp_zero_csum6_rx)}udp6zerocsumrx`,
        ...(data.gbp === undefined ? [] : ["gbp"]),
      ];
      const queue = txqlen === undefined ? "no queue" : `qlen ${txqlen}`;
      return `${ifname} ${flags.join(",")} mtu ${mtu} ${queue} ${address} ${options.join(" ")}`;
    })
    .toSorted();
}

function noUnless(isSo: boolean): string {
  return isSo ? "" : "no";
}

function addressLines(text: string): string[] {
  let name = "";
  const found: string[] = [];
  for (const line of linesOf(text)) {
    name = /^\d+: (\S+?)[:@]/.exec(line)?.[1] ?? name;
    const address = /^\s+inet6? (\S+) scope global/.exec(line)?.[1];
    if (address !== undefined && name.startsWith("flannel")) found.push(`${address} ${name}`);
  }
  return found.toSorted();
}

/** Those that lead to pods. */
function routeLines(text: string): string[] {
  return linesOf(text)
    .map((line) =>
      line
        .replace(/^unicast /, "")
        .replaceAll(/ (?:table main|scope global|proto kernel|proto boot|pref medium)/g, "")
        .trimEnd(),
    )
    .filter((line) => /^(?:blackhole )?(?:10\.244|fd00:244)/.test(line))
    .filter((line) => !/^\S+ dev flannel-v6/.test(line) && !line.includes(" dev cni0"))
    .toSorted();
}

/** flannel's rules in order, table by table. */
function iptablesLines(text: string): string[] {
  let table = "";
  return linesOf(text).flatMap((line) => {
    if (line.startsWith("*")) table = line.slice(1);
    return /^(?:-A|:FLANNEL).*(?:FLANNEL|flanneld)/.test(line) ? [`${table} ${line}`] : [];
  });
}

/** flannel's tables alone. */
function nftLines(text: string): string[] {
  const tables = text.split(/^(?=table )/m).filter((table) => /^table ip6? flannel/.test(table));
  return tables.flatMap(linesOf);
}

/**
 * What joins a node to others, as lines of text that are the same on every machine: MAC addresses are
 * named by the order of their devices, and what is the test's own is left out. The goldens of the Go
 * flanneld in test/golden/flanneld are in this form.
 */

/** The commands whose outputs are read, by the sections of the facts. */
export const factCommands = {
  links: "ip -d link show",
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

/** One line for a vxlan device: its flags, its MTU, its MAC and its options. */
function linkLines(text: string): string[] {
  const blocks = text.split(/^\d+: /m).filter((block) => block.startsWith("flannel"));
  return blocks
    .map((block) => {
      const [, name, flags, mtu, queue] =
        /^(\S+): <(.*?)> mtu (\d+) qdisc \w+.*?(qlen \d+)?$/m.exec(block) ?? [];
      const mac = /link\/ether (\S+)/.exec(block)?.[1];
      const options = /^\s+(vxlan .*?) addrgenmode/m.exec(block)?.[1];
      return `${name} ${flags} mtu ${mtu} ${queue ?? "no queue"} ${mac} ${options}`;
    })
    .toSorted();
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

/** The firewall's rules as lines of text without counters, time stamps and handles. */

/** iptables-nft's tables. nft lists them too, but cannot show all that is in them. */
const IPTABLES_TABLES = new Set(["filter", "mangle", "nat", "raw", "security"]);

/** The rules and user-defined chains of an `iptables-save`, each with its table's name. */
export function iptablesLines(save: string): readonly string[] {
  let table = "";
  const lines: string[] = [];
  for (const line of save.split("\n")) {
    if (line.startsWith("*")) table = line.slice(1);
    const chain = /^:(\S+) (\S+)/.exec(line);
    // A built-in chain has a policy, others have "-".
    if (chain?.[2] === "-") lines.push(`${table} -N ${chain[1]}`);
    else if (chain?.[2] !== undefined && chain[2] !== "ACCEPT") {
      lines.push(`${table} -P ${chain[1]} ${chain[2]}`);
    }
    if (line.startsWith("-A")) lines.push(`${table} ${line}`);
  }
  return lines;
}

interface NftObject {
  readonly family?: string;
  readonly table?: string;
  readonly name?: string;
  readonly hook?: string;
}

/** The rules, sets and chains without a hook of an `nft -j list ruleset`. */
export function nftLines(json: string): readonly string[] {
  if (json.trim() === "") return [];
  const { nftables } = JSON.parse(json) as {
    readonly nftables: readonly Readonly<Record<string, NftObject>>[];
  };
  return nftables.flatMap((item) => {
    const [kind, object] = Object.entries(item)[0] ?? [];
    if (kind === undefined || object === undefined || kind === "metainfo" || kind === "table")
      return [];
    if (kind === "chain" && object.hook !== undefined) return [];
    if (/^ip6?$/.test(object.family ?? "") && IPTABLES_TABLES.has(object.table ?? "")) return [];
    return [`${kind} ${JSON.stringify(object, withoutVolatile)}`];
  });
}

function withoutVolatile(key: string, value: unknown): unknown {
  return key === "handle" || key === "packets" || key === "bytes" ? undefined : value;
}

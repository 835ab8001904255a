import type { SavedTables } from "../../../../../daemons/flanneld/traffic/iptables.ts";

export type Table = "nat" | "filter";
export const builtIn = {
  nat: ["PREROUTING", "POSTROUTING"],
  filter: ["INPUT", "FORWARD"],
} as const;

/** A table of iptables, as far as texts for iptables-restore change it. */
class TableModel {
  readonly chains = new Map<string, string[]>();

  constructor(table: Table) {
    for (const chain of builtIn[table]) this.chains.set(chain, []);
  }

  restore(line: string): void {
    const [, op = "", chain = "", rest = ""] = /^(:|-\w) ?(\S+) ?(.*)$/.exec(line) ?? [];
    const list = this.chains.get(chain);
    if (op === ":") this.chains.set(chain, []);
    else if (list === undefined) throw new Error(`No chain ${chain}: ${line}`);
    else if (op === "-A") list.push(rest);
    else if (op === "-F") list.length = 0;
    else if (op === "-X") this.#delete(chain);
    else if (op === "-D") {
      const at = list.indexOf(rest);
      if (at < 0) throw new Error(`No rule: ${line}`);
      list.splice(at, 1);
    } else throw new Error(`Cannot read ${line}`);
  }

  #delete(chain: string): void {
    const isUsed = [...this.chains.values()].flat().some((rule) => rule.endsWith(` ${chain}`));
    if (isUsed || this.chains.get(chain)?.length !== 0) throw new Error(`${chain} is in use`);
    this.chains.delete(chain);
  }

  save(): string {
    const heads = [...this.chains.keys()].map((chain) => `:${chain} - [0:0]`);
    const lines = [...this.chains].flatMap(([chain, all]) =>
      all.map((rule) => `-A ${chain} ${rule}`),
    );
    return [...heads, ...lines, "COMMIT"].join("\n");
  }
}

/** The tables that flannel has rules in. */
export class FirewallModel {
  readonly nat = new TableModel("nat");
  readonly filter = new TableModel("filter");

  save(): SavedTables {
    return { nat: `*nat\n${this.nat.save()}`, filter: `*filter\n${this.filter.save()}` };
  }

  restore(text: string | undefined): void {
    let table: TableModel | undefined;
    for (const line of text?.trim().split("\n") ?? []) {
      if (line === "*nat") table = this.nat;
      else if (line === "*filter") table = this.filter;
      else if (line !== "COMMIT") table?.restore(line);
    }
  }
}

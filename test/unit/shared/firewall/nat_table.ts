/** The nat table, as far as iptables-restore --noflush changes it. */
export class NatTable {
  /** Each chain's policy ("-" for a user's own) and rules. */
  readonly #chains = new Map<string, { policy: string; rules: string[] }>();

  /** @param saved what iptables-save says. */
  constructor(saved: string) {
    this.restore(saved.split("\n").filter((line) => /^[:-]/.test(line)));
  }

  /** Carries lines out; throws where iptables-restore would refuse one. */
  restore(lines: readonly string[]): void {
    for (const line of lines) this.#do(line);
  }

  /** As iptables-save prints it: the kernel's chains in their order, then the others by name. */
  save(): string {
    const all = [...this.#chains];
    const own = all.filter(([, { policy }]) => policy === "-");
    const chains = [
      ...all.filter(([, { policy }]) => policy !== "-"),
      ...own.toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ];
    return [
      "*nat",
      ...chains.map(([name, { policy }]) => `:${name} ${policy} [0:0]`),
      ...chains.flatMap(([name, { rules }]) => rules.map((rule) => `-A ${name} ${rule}`)),
      "COMMIT",
      "",
    ].join("\n");
  }

  #do(line: string): void {
    if (line.startsWith(":")) {
      const [name = "", policy = ""] = line.slice(1).split(" ");
      this.#chains.set(name, { policy, rules: [] });
      return;
    }
    const [, verb, name = "", rule = ""] = /^-([ADICX]) (\S+) ?(.*)$/.exec(line) ?? [];
    const chain = this.#chains.get(name);
    if (chain === undefined) throw new Error(`no chain for ${line}`);
    const at = chain.rules.indexOf(rule);
    if (verb === "A") chain.rules.push(rule);
    else if (verb === "I") chain.rules.unshift(rule);
    else if (verb === "X") this.#delete(name, chain.rules);
    else if (at === -1) throw new Error(`no rule for ${line}`);
    else if (verb === "D") chain.rules.splice(at, 1);
  }

  #delete(name: string, rules: readonly string[]): void {
    const all = [...this.#chains.values()].flatMap((chain) => chain.rules);
    const isUsed = all.some((rule) => rule.endsWith(` -j ${name}`));
    if (isUsed || rules.length > 0) throw new Error(`${name} is not empty or used`);
    this.#chains.delete(name);
  }
}

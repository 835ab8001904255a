import { Firewall } from "../../../shared/firewall/firewall.ts";
import type { Variant } from "../../../shared/firewall/firewall.ts";
import { linesIn, parsedOnce } from "../../../shared/firewall/listing.ts";
import type { Family } from "../../../shared/net/address.ts";
import type { Tool } from "../command.ts";

/** Runs what looks at many attachments in a row: the firewall is listed once for all of them. */
export async function withCaches<T>(tool: Tool, look: (tool: Tool) => Promise<T>): Promise<T> {
  using firewall = new CachingFirewall(tool.node.sys);
  return await look({ ...tool, firewall });
}

/** Where the rules of a listing in iptables-save format lead: the chain and the target of each. */
const jumpsIn = parsedOnce((saved): ReadonlySet<string> => {
  return new Set(saved.split("\n").flatMap((line) => jumpOf(line, "-A") ?? []));
});

/** The chain and the target of a rule, as "CHAIN TARGET". */
function jumpOf(line: string, option: "-A" | "-C"): string | undefined {
  const [, chain, target] = /^-[AC] (\S+) (?:.* )?-j (\S+)/.exec(line) ?? [];
  return chain === undefined || !line.startsWith(option) ? undefined : `${chain} ${target}`;
}

/** A firewall that is only looked at, and does not change meanwhile. */
class CachingFirewall extends Firewall {
  readonly #listings = new Map<string, string | undefined>();

  /** A second look would be at the same listing. */
  override consistent<T>(look: () => T): T {
    return look();
  }

  override save(family: Family, table: string, variant?: Variant): string | undefined {
    const key = `${family} ${table} ${variant ?? this.variant(family)}`;
    return this.#list(key, () => super.save(family, table, variant));
  }

  override nftList(what: readonly string[]): string | undefined {
    return this.#list(what.join(" "), () => super.nftList(what));
  }

  /** Answers by the listing where that will do: one process less for each attachment and family. */
  override refusedLine(family: Family, text: string): number | undefined {
    const saved = this.save(family, "nat");
    if (saved === undefined || !text.startsWith("*nat\n")) return super.refusedLine(family, text);
    const listed = linesIn(saved);
    const at = text
      .split("\n")
      .findIndex((line) => line.startsWith("-C ") && !listed.has(`-A ${line.slice(3)}`));
    if (at === -1) return undefined;
    const jump = jumpOf(text.split("\n")[at] ?? "", "-C");
    // A rule may be listed in other words, but leads from the same chain to the same target.
    const mayBeThere = jump === undefined || jumpsIn(saved).has(jump);
    return mayBeThere ? super.refusedLine(family, text) : at + 1;
  }

  #list(key: string, list: () => string | undefined): string | undefined {
    if (!this.#listings.has(key)) {
      this.#listings.set(
        key,
        super.consistent(list, () => false),
      );
    }
    return this.#listings.get(key);
  }
}

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

/** The chains that a listing in iptables-save format declares. */
const chainsIn = parsedOnce((saved): ReadonlySet<string> => {
  return new Set(Array.from(saved.matchAll(/^:(\S+) /gm), ([, chain = ""]) => chain));
});

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
    const [, chain = ""] = text.split("\n")[at]?.split(" ") ?? [];
    // A rule of a chain that is there may be listed in other words.
    return chainsIn(saved).has(chain) ? super.refusedLine(family, text) : at + 1;
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

import { Firewall } from "../../../shared/firewall/firewall.ts";
import type { Variant } from "../../../shared/firewall/firewall.ts";
import type { Family } from "../../../shared/net/address.ts";
import type { Tool } from "../command.ts";

/**
 * The tool for looking at many pods while it changes nothing: what the firewall lists for one of them
 * it has listed for all.
 */
export function caching(tool: Tool): Tool {
  return { ...tool, firewall: new CachingFirewall(tool.node.sys) };
}

class CachingFirewall extends Firewall {
  readonly #seen = new Map<string, string | undefined>();

  override save(family: Family, table: string, variant?: Variant): string | undefined {
    const key = `${family} ${table} ${variant ?? this.variant(family)}`;
    return this.#once(key, () => super.save(family, table, variant));
  }

  override nftList(what: readonly string[]): string | undefined {
    return this.#once(what.join(" "), () => super.nftList(what));
  }

  #once(key: string, look: () => string | undefined): string | undefined {
    if (!this.#seen.has(key)) this.#seen.set(key, look());
    return this.#seen.get(key);
  }
}

import { Firewall } from "../../../shared/firewall/firewall.ts";
import type { Variant } from "../../../shared/firewall/firewall.ts";
import type { Family } from "../../../shared/net/address.ts";
import type { Tool } from "../command.ts";

/** Runs what looks at many attachments in a row: the firewall is listed once for all of them. */
export async function withCaches<T>(tool: Tool, look: (tool: Tool) => Promise<T>): Promise<T> {
  using firewall = new CachingFirewall(tool.node.sys);
  return await look({ ...tool, firewall });
}

class CachingFirewall extends Firewall {
  readonly #listings = new Map<string, string | undefined>();

  override save(family: Family, table: string, variant?: Variant): string | undefined {
    const key = `${family} ${table} ${variant ?? this.variant(family)}`;
    return this.#list(key, () => super.save(family, table, variant));
  }

  override nftList(what: readonly string[]): string | undefined {
    return this.#list(what.join(" "), () => super.nftList(what));
  }

  #list(key: string, list: () => string | undefined): string | undefined {
    if (!this.#listings.has(key)) this.#listings.set(key, list());
    return this.#listings.get(key);
  }
}

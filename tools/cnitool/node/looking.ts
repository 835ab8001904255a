import { Firewall } from "../../../shared/firewall/firewall.ts";
import type { Variant } from "../../../shared/firewall/firewall.ts";
import { Kernel } from "../../../shared/node/node.ts";
import type { Family } from "../../../shared/net/address.ts";
import type { Tool } from "../command.ts";

/**
 * The tool for looking at many pods while it changes nothing: what the firewall lists for one of them
 * it has listed for all.
 */
export function looking(tool: Tool): Tool {
  return { ...tool, kernel: new LookingKernel(tool.kernel.sys) };
}

class LookingKernel extends Kernel {
  #own: LookingFirewall | undefined;

  override get firewall(): Firewall {
    return (this.#own ??= new LookingFirewall(this.sys));
  }
}

class LookingFirewall extends Firewall {
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

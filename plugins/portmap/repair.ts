import { asCniError } from "../../shared/cni/error.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import { intended } from "./claims.ts";
import type { PortmapConfig } from "./conf.ts";
import { remakeRules } from "./making.ts";
import type { Records } from "./records.ts";
import type { Tools } from "./rules.ts";

/**
 * Makes again the rules of a network's containers that something has flushed, a reload of the
 * node's firewall for one: what they should be stands in the records. What does not work is said.
 */
export function repair(context: Context<PortmapConfig>, store: Records, tools: Tools): void {
  const { conf, warn } = context;
  const targets = intended(store)
    .map(({ target }) => target)
    .filter(({ network }) => network === conf.network);
  for (const family of [4, 6] as const) {
    try {
      remakeRules(tools, targets, family);
    } catch (error) {
      warn(`Host ports for IPv${family} may be unmapped: ${asCniError(error).message}`);
    }
  }
}

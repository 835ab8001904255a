import { asCniError, type CniError } from "../../../shared/cni/error.ts";
import { DelegateInvoker } from "../../../shared/cni/delegate_invoker.ts";
import type { Tool } from "../command.ts";
import { configFor, requestFor } from "./attachments.ts";
import type { Attached } from "./attachments.ts";

/** What of an attachment's rules was missing, in words, and why not all could be looked at. */
export interface Lost {
  readonly missing: readonly string[];
  readonly errors: readonly CniError[];
}

/**
 * Has the plugins that this executable holds look for an attachment's rules, and put back what is
 * missing. They are not executed: a node's own may be older, or the reference's.
 * @param dryRun for looking alone.
 */
export async function lostRules(tool: Tool, attached: Attached, dryRun: boolean): Promise<Lost> {
  const { builtins } = tool;
  const { list } = attached;
  const missing: string[] = [];
  const errors: CniError[] = [];
  const request = requestFor(attached);
  const delegate = new DelegateInvoker(
    request,
    { ...tool, warn: (line) => tool.terminal.say(line) },
    builtins,
  );
  for (const plugin of list?.plugins ?? []) {
    if (list === undefined) continue;
    try {
      missing.push(
        ...(await delegate.repair(plugin.type, configFor(attached, list, plugin), dryRun)),
      );
    } catch (error) {
      errors.push(asCniError(error));
    }
  }
  return { missing, errors };
}

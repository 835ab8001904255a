import { asCniError, Code, type CniError } from "../../../shared/cni/error.ts";
import { DelegateInvoker } from "../../../shared/cni/delegate_invoker.ts";
import type { Tool } from "../command.ts";
import type { CachedAttachment } from "./attachments.ts";
import { configFor, requestFor } from "./plugin_call.ts";

/** The firewall rules of an attachment that are missing, in words, and what could not be checked. */
export interface MissingRules {
  readonly missing: readonly string[];
  readonly errors: readonly CniError[];
}

/**
 * Has the plugins that this executable holds look for an attachment's rules, and restore those that
 * are missing. None is executed: those on the node may be older, or the reference's.
 * @param dryRun for looking alone.
 */
export async function missingRules(
  tool: Tool,
  attachment: CachedAttachment,
  dryRun: boolean,
): Promise<MissingRules> {
  const { terminal, builtins } = tool;
  const { list, addResult } = attachment;
  const missing: string[] = [];
  const errors: CniError[] = [];
  const warn = (line: string): void => {
    terminal.say(line);
  };
  const env = { ...tool, warn, ...(addResult === undefined ? {} : { prevResult: addResult }) };
  const delegate = new DelegateInvoker(requestFor(attachment), env, builtins);
  for (const plugin of list?.plugins ?? []) {
    if (list === undefined) continue;
    try {
      const conf = configFor(attachment, list, plugin);
      missing.push(...(await delegate.repair(plugin.type, conf, dryRun)));
    } catch (error) {
      const failure = asCniError(error);
      // It is being deleted.
      if (failure.code !== Code.UnknownContainer) errors.push(failure);
    }
  }
  return { missing, errors };
}

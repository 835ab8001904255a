/** Calls a conflist's plugins one after another, as a runtime does, but keeps no results. */
import { pluginConfig } from "../../shared/libcni/config.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import type { Sandbox } from "./sandbox.ts";
import { cniOk, type CniCall, type CniJson, type Conf } from "./cni.ts";

/** A network configuration list, as in /etc/cni/net.d. */
export interface Conflist {
  readonly name: string;
  readonly cniVersion: string;
  readonly plugins: readonly (Conf & { readonly type: string })[];
}

/** A call of every plugin of a conflist. */
export interface ConflistCall extends Omit<CniCall, "plugin" | "conf"> {
  readonly conflist: Conflist;
  /** Values of capabilities, such as portMappings, for the plugins that have them. */
  readonly runtimeConfig?: Conf;
  /** The result of ADD, for CHECK and DEL. */
  readonly prevResult?: CniJson;
}

/** Calls the plugins in order, or in reverse for DEL. Throws as soon as one fails. */
export async function runConflist(sandbox: Sandbox, call: ConflistCall): Promise<CniJson> {
  const { conflist, runtimeConfig, prevResult: kept, ...rest } = call;
  const { name, cniVersion } = conflist;
  const deleting = call.command === "DEL";
  // Since 0.4.0, CHECK and DEL get the result of ADD.
  let prevResult = cniVersion >= "0.4.0" ? kept : undefined;
  for (const plugin of deleting ? conflist.plugins.toReversed() : conflist.plugins) {
    const injected = { name, cniVersion, prevResult: prevResult as JsonObject | undefined };
    const capabilityArgs = (runtimeConfig ?? {}) as JsonObject;
    const conf = pluginConfig(plugin as JsonObject, { ...injected, capabilityArgs });
    const result = await cniOk(sandbox, { ...rest, plugin: plugin.type, conf });
    if (call.command === "ADD") prevResult = result;
  }
  return prevResult ?? {};
}

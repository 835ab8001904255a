/** Executes a conflist's plugins one after another in a sandbox, where no runtime keeps the results. */
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
  /** What the runtime passes to plugins with the capability, such as portMappings. */
  readonly runtimeConfig?: Conf;
  /** The result that the runtime has kept from ADD, for CHECK and DEL. */
  readonly prevResult?: CniJson;
}

/** Runs the plugins in order, or for DEL in the reverse one; throws at the first that fails. */
export async function runConflist(sandbox: Sandbox, call: ConflistCall): Promise<CniJson> {
  const { conflist, runtimeConfig, prevResult: kept, ...rest } = call;
  const { name, cniVersion } = conflist;
  const deleting = call.command === "DEL";
  // CHECK came with 0.4.0, and with it the result of ADD for CHECK and DEL.
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

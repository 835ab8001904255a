/** Calls a conflist's plugins one after another, as a runtime does, but keeps no results. */
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
    const conf = {
      ...plugin,
      name,
      cniVersion,
      ...runtimeConfigOf(plugin, runtimeConfig),
      ...(prevResult === undefined ? {} : { prevResult }),
    };
    const result = await cniOk(sandbox, { ...rest, plugin: plugin.type, conf });
    if (call.command === "ADD") prevResult = result;
  }
  return prevResult ?? {};
}

/** The values of the plugin's own capabilities. */
function runtimeConfigOf({ capabilities }: Conf, values: Conf = {}): Conf {
  const own = Object.entries(capabilities ?? {}).flatMap(([name, has]) =>
    has === true ? [name] : [],
  );
  const given = own.filter((name) => values[name] !== undefined);
  if (given.length === 0) return {};
  return { runtimeConfig: Object.fromEntries(given.map((name) => [name, values[name]])) };
}

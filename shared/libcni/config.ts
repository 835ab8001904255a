import { isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";

/** What the runtime adds to each plugin's config. */
export interface Injected {
  readonly name: string;
  readonly cniVersion: string;
  /** What the runtime passes by capability, such as portMappings. */
  readonly capabilityArgs: JsonObject;
  /** At ADD, the result of the plugin before. At CHECK and DEL, that of the whole ADD. */
  readonly prevResult: JsonObject | undefined;
}

/** The config that a plugin is given: with the list's name and version, and its runtimeConfig. */
export function pluginConfig(plugin: JsonObject, injected: Injected): JsonObject {
  const { name, cniVersion, capabilityArgs, prevResult } = injected;
  const runtimeConfig = runtimeConfigFor(plugin["capabilities"], capabilityArgs);
  return {
    ...plugin,
    name,
    cniVersion,
    ...(runtimeConfig === undefined ? {} : { runtimeConfig }),
    ...(prevResult === undefined ? {} : { prevResult }),
  };
}

/** Those of the runtime's values for which the plugin has a capability. */
function runtimeConfigFor(
  capabilities: Json | undefined,
  values: JsonObject,
): JsonObject | undefined {
  if (!isJsonObject(capabilities)) return undefined;
  const wanted = Object.keys(capabilities).filter((key) => capabilities[key] === true);
  const given = wanted.filter((key) => values[key] !== undefined);
  if (given.length === 0) return undefined;
  return Object.fromEntries(given.map((key) => [key, values[key]]));
}

import { isJsonArray, isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";

/** What runtimes pass as lists of objects, and the keys of those. */
const keysOf: Readonly<Record<string, readonly string[]>> = {
  portMappings: ["hostPort", "containerPort", "protocol", "hostIP"],
  ipRanges: ["subnet", "rangeStart", "rangeEnd", "gateway"],
};

/**
 * A config whose runtimeConfig has its keys as the specification spells them. containerd passes the
 * names of its own fields, "HostPort", for Go reads keys without regard to case.
 */
export function withSpecKeys(raw: JsonObject): JsonObject {
  const runtimeConfig = raw["runtimeConfig"];
  return isJsonObject(runtimeConfig)
    ? { ...raw, runtimeConfig: capabilitiesWithSpecKeys(runtimeConfig) }
    : raw;
}

/** The same for what a runtime keeps of it. */
export function capabilitiesWithSpecKeys(args: JsonObject): JsonObject {
  const entries = Object.entries(args).map(([capability, value]) => {
    const keys = Object.hasOwn(keysOf, capability) ? keysOf[capability] : undefined;
    return [capability, keys === undefined ? value : respell(value, keys)] as const;
  });
  return Object.fromEntries(entries);
}

function respell(value: Json | undefined, keys: readonly string[]): Json | undefined {
  if (isJsonArray(value)) return value.map((one) => respell(one, keys) ?? null);
  if (!isJsonObject(value)) return value;
  // Of two spellings the last one counts, as for Go.
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => {
      const lower = key.toLowerCase();
      return [keys.find((known) => known.toLowerCase() === lower) ?? key, one];
    }),
  );
}

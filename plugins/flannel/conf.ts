import { badConfig, stringAt, validate } from "../../shared/cni/conf.ts";
import { isRemoval } from "../../shared/cni/handler.ts";
import type { Request } from "../../shared/cni/request.ts";
import { isJsonObject } from "../../shared/base/json.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import { validateFlannel } from "../../schemas/generated/validators.js";
import { flannelDataFolder, subnetFile as defaultSubnetFile } from "../../shared/files/paths.ts";

/** A flannel config, with defaults. */
export interface FlannelConfig {
  readonly network: string;
  /** "" if the config has none. */
  readonly cniVersion: string;
  /** The file that flanneld writes. */
  readonly subnetFile: string;
  /** The folder of the state files. */
  readonly dataDir: string;
  /** Options for the delegate, as given. */
  readonly delegate: JsonObject;
  /** Options for the delegate's IPAM plugin, as given. */
  readonly ipam: JsonObject;
  readonly runtimeConfig: JsonObject | undefined;
}

const what = "the flannel config";
/** The type of a delegate that has none. */
export const bridge = "bridge";

/**
 * Reads the config. DEL and GC do without what is wrong in it, so that a pod can be deleted when the
 * config has gone bad.
 * @param warn is told of a delegate.type that cannot be one, in the place of which bridge is taken.
 * @throws CniError InvalidNetworkConfig
 */
export function parseFlannelConf(
  raw: JsonObject,
  request: Request,
  warn: (problem: string) => void,
): FlannelConfig {
  let delegate = objectAt(raw, "delegate") ?? {};
  if (!isRemoval(request)) checkDelegate(validate(validateFlannel, raw, what).delegate);
  else if (!isDelegateType(delegate["type"] ?? bridge)) {
    warn(badDelegateType(delegate["type"]).message);
    delegate = { ...delegate, type: bridge };
  }
  return {
    network: stringAt(raw, "name") ?? "",
    cniVersion: stringAt(raw, "cniVersion") ?? "",
    subnetFile: nonEmpty(raw, "subnetFile") ?? defaultSubnetFile,
    dataDir: nonEmpty(raw, "dataDir") ?? flannelDataFolder,
    delegate,
    ipam: objectAt(raw, "ipam") ?? {},
    runtimeConfig: objectAt(raw, "runtimeConfig"),
  };
}

/** Whether a value can be the type of a delegate: the name of a plugin, but not flannel's own. */
export function isDelegateType(value: unknown): value is string {
  return (
    typeof value === "string" && !["", ".", "..", "flannel"].includes(value) && !value.includes("/")
  );
}

/** The error for a `delegate.type` that is not a delegate's type. */
export function badDelegateType(value: unknown): Error {
  return badConfig("delegate.type", value, "must be the name of a plugin other than flannel", what);
}

function checkDelegate(delegate: object | null | undefined): void {
  for (const [key, value] of Object.entries(delegate ?? {})) {
    if (key === "name" || key === "ipam") {
      throw badConfig(`delegate.${key}`, value, "must not be set, for flannel sets it", what);
    }
    if (key === "type" && !isDelegateType(value)) throw badDelegateType(value);
  }
}

function objectAt(raw: JsonObject, key: string): JsonObject | undefined {
  const value = raw[key];
  return isJsonObject(value) ? value : undefined;
}

function nonEmpty(raw: JsonObject, key: string): string | undefined {
  const value = stringAt(raw, key);
  return value === "" ? undefined : value;
}

import {
  validateBridge,
  validateConflist,
  validateFlannel,
  validateHostLocal,
  validateLoopback,
  validatePortmap,
} from "../../schemas/generated/validators.js";
import { badConfig, validate } from "../../shared/cni/conf.ts";
import type { Validator } from "../../shared/cni/conf.ts";
import { CniError, Code } from "../../shared/cni/error.ts";
import { isJsonArray, isJsonObject, parseJson } from "../../shared/base/json.ts";
import { quote } from "../../shared/base/text.ts";
import { newIdProblem } from "../../shared/cni/request.ts";
import { versionOf } from "../../shared/cni/version.ts";
import { readIfPresent, readProblem } from "../../shared/files/read_file.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import { mountedConflist } from "../../shared/files/paths.ts";
import { defaultNetwork } from "../../shared/flannel/defaults.ts";
import type { Options } from "./options.ts";

/** A network's conflist, as it is to be installed. */
export interface Conflist {
  /** To the letter as it was given. */
  readonly text: string;
  readonly value: JsonObject;
  /** The plugins that it needs, IPAM plugins included. */
  readonly plugins: readonly string[];
}

/** What flannel's manifest has had in it for years. */
const usual = `{
  "name": "${defaultNetwork}",
  "cniVersion": "1.0.0",
  "plugins": [
    { "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true } },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}
`;

/** By a Map, for a plugin may be called "constructor". */
const validators: ReadonlyMap<string, Validator<unknown>> = new Map<string, Validator<unknown>>([
  ["bridge", validateBridge],
  ["flannel", validateFlannel],
  ["host-local", validateHostLocal],
  ["loopback", validateLoopback],
  ["portmap", validatePortmap],
]);

/**
 * Reads the conflist that is to be installed.
 * @throws CniError when it cannot be read, or when a plugin of ours would refuse it.
 */
export function readConflist(conf: Options["conf"]): Conflist {
  if (conf === undefined) {
    const text = readText(mountedConflist);
    return text === undefined
      ? parseConflist(usual, "the usual conflist")
      : parseConflist(text, mountedConflist);
  }
  if ("text" in conf) return parseConflist(conf.text, "the conflist given as text");
  const text = readText(conf.file);
  if (text !== undefined) return parseConflist(text, conf.file);
  throw new CniError(
    Code.IoFailure,
    `Cannot read the conflist: there is no ${conf.file}.`,
    "Name an existing file with --conf or CNI_NETWORK_CONFIG_FILE.",
  );
}

function readText(path: string): string | undefined {
  try {
    return readIfPresent(path);
  } catch (cause) {
    throw new CniError(
      Code.IoFailure,
      `Cannot read the conflist ${path}: ${readProblem(cause)}.`,
      "Name a readable file with --conf or CNI_NETWORK_CONFIG_FILE.",
      { cause },
    );
  }
}

/** @param what names it in messages. @throws CniError */
function parseConflist(text: string, what: string): Conflist {
  const value = parseJson(text);
  if (!isJsonObject(value)) {
    throw new CniError(
      Code.DecodingFailure,
      `Cannot use ${what}: it must be a JSON object (got ${quote(text)}).`,
      "Correct the conflist.",
    );
  }
  if (value["plugins"] === undefined && value["type"] !== undefined) {
    throw badConfig("", value, 'must be a list with "plugins", not the config of one plugin', what);
  }
  const { name } = validate(validateConflist, value, what);
  const problem = newIdProblem(name);
  if (problem !== undefined) throw badConfig("name", name, problem, what);
  versionOf(value);
  const entries = isJsonArray(value["plugins"]) ? value["plugins"].filter(isJsonObject) : [];
  for (const [index, entry] of entries.entries()) {
    const { type } = entry;
    const validator = typeof type === "string" ? validators.get(type) : undefined;
    // A runtime adds the name before a plugin sees it.
    if (validator === undefined) continue;
    validate(validator, { ...entry, name }, `plugins[${index}] of ${what}`);
  }
  return { text, value, plugins: [...new Set(entries.flatMap(pluginsOf))] };
}

/** A plugin's own name and those that it delegates to. */
function pluginsOf(conf: JsonObject): string[] {
  const { type, ipam, delegate } = conf;
  return [
    ...(typeof type === "string" && type !== "" ? [type] : []),
    ...(isJsonObject(ipam) ? pluginsOf(ipam) : []),
    ...(isJsonObject(delegate) ? pluginsOf(delegate) : []),
  ];
}

import { validate } from "../cni/conf.ts";
import { CniError, Code } from "../cni/error.ts";
import { isJsonArray, isJsonObject, parseJson } from "../base/json.ts";
import { quote } from "../base/text.ts";
import type { Json, JsonObject } from "../base/json.ts";
import type { Conflist } from "../../schemas/generated/types.ts";
import { validateConflist } from "../../schemas/generated/validators.js";

/** A plugin's config in a list, or alone. */
export type PluginConf = JsonObject & { readonly type: string };

/** A network as libcni has it in the end: plugins to run one after another. */
export interface NetworkList {
  readonly name: string;
  /** As it is written; "" where it is not. */
  readonly cniVersion: string;
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  readonly plugins: readonly PluginConf[];
  /** The list as text, which libcni keeps with a result. */
  readonly text: string;
  readonly file: string;
}

/** The newest version that libcni knows; higher ones in cniVersions are for others. */
const newest = "1.1.0";

/**
 * Reads a list of plugins (.conflist).
 * @param file names it in messages.
 * @param more the further plugins of a network, which stand in a folder of its name.
 * @throws CniError DecodingFailure, InvalidNetworkConfig
 */
export function readList(
  text: string,
  file: string,
  more: (network: string) => readonly PluginConf[],
): NetworkList {
  const raw = readObject(text, file);
  const { name, plugins: inlined } = raw;
  const onlyInlined = isTrue(raw["loadOnlyInlinedPlugins"]);
  const further = typeof name === "string" && name !== "" && !onlyInlined ? more(name) : [];
  // A list may have all of its plugins in the folder.
  const whole = inlined === undefined && further.length > 0 ? { ...raw, plugins: further } : raw;
  const what = `the network config ${file}`;
  const conf: Conflist = validate(validateConflist, whole, what);
  return {
    name: conf.name,
    cniVersion: highestVersion(conf),
    disableCheck: isTrue(conf.disableCheck),
    disableGC: isTrue(conf.disableGC),
    plugins: [...((inlined ?? []) as unknown as readonly PluginConf[]), ...further],
    text,
    file,
  };
}

/**
 * Reads a plugin's config that stands alone (.conf, .json), as a list of one.
 * @throws CniError DecodingFailure, InvalidNetworkConfig
 */
export function readSingle(text: string, file: string): NetworkList {
  const plugin = readPlugin(text, file);
  const { name = "", cniVersion = "" } = plugin;
  return readList(JSON.stringify({ cniVersion, name, plugins: [plugin] }), file, () => []);
}

/** @throws CniError DecodingFailure, InvalidNetworkConfig */
export function readPlugin(text: string, file: string): PluginConf {
  const raw = readObject(text, file);
  const { type } = raw;
  if (typeof type === "string" && type !== "") return { ...raw, type };
  throw new CniError(
    Code.InvalidNetworkConfig,
    `Cannot use the network config ${file}: its type is missing.`,
    isJsonArray(raw["plugins"])
      ? `It is a list of plugins: give it a name that ends in .conflist.`
      : `Set type to the plugin's name.`,
  );
}

function readObject(text: string, file: string): JsonObject {
  const value = parseJson(text);
  if (isJsonObject(value)) return value;
  throw new CniError(
    Code.DecodingFailure,
    text.trim() === ""
      ? `Cannot read the network config ${file}: it is empty.`
      : value === undefined
        ? `Cannot read the network config ${file}: it is no JSON${position(text)}.`
        : `Cannot read the network config ${file}: it is JSON, but no object.`,
    "Correct it, or copy it anew from where it came. A file that is not meant for the runtime needs another ending than .conf, .conflist or .json.",
  );
}

/** What the runtime says of where it is broken, if that can be turned into a line. */
function position(text: string): string {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    const at = /position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
    return at === undefined ? "" : ` (line ${text.slice(0, Number(at)).split("\n").length})`;
  }
}

function isTrue(value: Json | undefined): boolean {
  return value === true || (typeof value === "string" && value.toLowerCase() === "true");
}

/** The highest of cniVersion and cniVersions that libcni knows. */
function highestVersion({ cniVersion, cniVersions }: Conflist): string {
  const own = cniVersion ?? "";
  const all = [...(cniVersions ?? []), own]
    .filter((version) => version !== "" && compareVersions(version, newest) <= 0)
    .toSorted(compareVersions);
  return (cniVersions ?? []).length === 0 ? own : (all.at(-1) ?? own);
}

/** Orders versions by their numbers. @throws CniError InvalidNetworkConfig for what is no version. */
function compareVersions(one: string, other: string): number {
  const [a, b] = [numbersOf(one), numbersOf(other)];
  const at = a.findIndex((number, index) => number !== b[index]);
  return at === -1 ? 0 : (a[at] ?? 0) - (b[at] ?? 0);
}

function numbersOf(version: string): number[] {
  if (/^\d+\.\d+\.\d+$/.test(version)) return version.split(".").map(Number);
  throw new CniError(
    Code.InvalidNetworkConfig,
    `Cannot use the network config: ${quote(version)} in cniVersions is no version.`,
    'Write three numbers, such as "1.0.0".',
  );
}

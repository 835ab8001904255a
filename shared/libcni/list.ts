import { badConfig, validate } from "../cni/conf.ts";
import { newestVersion } from "../cni/version.ts";
import { withExactKeys } from "../base/json_keys.ts";
import { CniError, Code } from "../cni/error.ts";
import { isJsonArray, isJsonObject, parseJson } from "../base/json.ts";
import { quote } from "../base/text.ts";
import type { JsonObject } from "../base/json.ts";
import type { Conflist } from "../../schemas/generated/types.ts";
import { validateConflist, validatePlugin } from "../../schemas/generated/validators.js";

/** A plugin's config, in a list or alone. Keys that libcni reads are spelled as it writes them. */
export type PluginConf = JsonObject & { readonly type: string };

/** A network as libcni sees it: plugins to run one after another. */
export interface NetworkList {
  readonly name: string;
  /** As the list has it; "" if it has none. */
  readonly cniVersion: string;
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  readonly plugins: readonly PluginConf[];
  /** The list's text, which libcni keeps with a result. */
  readonly text: string;
  readonly file: string;
}

/** A list of plugins in a file whose name says that it is one plugin's config. */
export class MisnamedList extends CniError {
  constructor(file: string) {
    super(
      Code.InvalidNetworkConfig,
      `Cannot use the network config ${file}: it is a list of plugins, and its name says that it is one plugin's config.`,
      "Give it a name that ends in .conflist.",
    );
  }
}

/** The newest version of cniVersions that libcni takes. */
const newest = newestVersion;

/**
 * Reads a list of plugins (.conflist).
 * @param file names it in messages.
 * @param more the plugins that a network has in a folder of its name.
 * @throws CniError DecodingFailure, InvalidNetworkConfig
 */
export function readList(
  text: string,
  file: string,
  more: (network: string) => readonly PluginConf[],
): NetworkList {
  const raw = withExactKeys(readObject(text, file), validateConflist.keys);
  const { name, plugins: inlined } = raw;
  const what = `the network config ${file}`;
  const advice = `Correct ${file}.`;
  const isTrue = (key: string): boolean => readBoolean(raw, key, what, advice);
  const onlyInlined = isTrue("loadOnlyInlinedPlugins");
  const further = typeof name === "string" && name !== "" && !onlyInlined ? more(name) : [];
  // A list can have all of its plugins in the folder.
  const whole = inlined === undefined && further.length > 0 ? { ...raw, plugins: further } : raw;
  const conf: Conflist = validate(validateConflist, whole, what, advice);
  return {
    name: conf.name,
    cniVersion: highestVersion(conf),
    disableCheck: isTrue("disableCheck"),
    disableGC: isTrue("disableGC"),
    plugins: [...((inlined ?? []) as unknown as readonly PluginConf[]), ...further],
    text,
    file,
  };
}

/**
 * Reads the config of a single plugin (.conf, .json), as a list of one.
 * @throws CniError DecodingFailure, InvalidNetworkConfig
 */
export function readSingle(text: string, file: string): NetworkList {
  const plugin = readPlugin(text, file);
  const { name = "", cniVersion = "" } = plugin;
  return readList(JSON.stringify({ cniVersion, name, plugins: [plugin] }), file, () => []);
}

/** @throws CniError DecodingFailure, InvalidNetworkConfig */
export function readPlugin(text: string, file: string): PluginConf {
  const raw = withExactKeys(readObject(text, file), validatePlugin.keys);
  const { type } = raw;
  if (typeof type === "string" && type !== "") return { ...raw, type };
  if (isJsonArray(raw["plugins"])) throw new MisnamedList(file);
  throw new CniError(
    Code.InvalidNetworkConfig,
    `Cannot use the network config ${file}: type must be set.`,
    "Set type to the plugin's name.",
  );
}

function readObject(text: string, file: string): JsonObject {
  const value = parseJson(text);
  if (isJsonObject(value)) return value;
  throw new CniError(
    Code.DecodingFailure,
    text.trim() === ""
      ? `Cannot read the network config ${file}: it must not be empty.`
      : value === undefined
        ? `Cannot read the network config ${file}: it must be JSON${position(text)}.`
        : `Cannot read the network config ${file}: it must be a JSON object.`,
    "Correct it, or copy it again from where it came. The name of a file that is not for the runtime must not end in .conf, .conflist or .json.",
  );
}

/** The line where JSON.parse stops, if it says so. */
function position(text: string): string {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    const at = /position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
    return at === undefined ? "" : ` (see line ${text.slice(0, Number(at)).split("\n").length})`;
  }
}

/** A key that is true, false, or either as a string. @throws CniError InvalidNetworkConfig */
function readBoolean(raw: JsonObject, key: string, what: string, advice: string): boolean {
  const value = raw[key] ?? false;
  const text = typeof value === "string" ? value.toLowerCase() : value;
  if (text === true || text === "true") return true;
  if (text === false || text === "false") return false;
  throw badConfig(key, value, "must be true or false", what, advice);
}

/** The highest of cniVersion and cniVersions that libcni takes. */
function highestVersion({ cniVersion, cniVersions }: Conflist): string {
  const fallback = cniVersion ?? "";
  const all = [...(cniVersions ?? []), fallback]
    .filter((version) => version !== "" && compareVersions(version, newest) <= 0)
    .toSorted(compareVersions);
  return (cniVersions ?? []).length === 0 ? fallback : (all.at(-1) ?? fallback);
}

/** Orders versions by their numbers. @throws CniError InvalidNetworkConfig for what is no version. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [numbersOf(a), numbersOf(b)];
  const at = left.findIndex((number, index) => number !== right[index]);
  return at === -1 ? 0 : (left[at] ?? 0) - (right[at] ?? 0);
}

function numbersOf(version: string): number[] {
  if (/^\d+\.\d+\.\d+$/.test(version)) return version.split(".").map(Number);
  throw new CniError(
    Code.InvalidNetworkConfig,
    `Cannot use the network config: each of cniVersions must be a version (got ${quote(version)}).`,
    'Write three numbers, such as "1.0.0".',
  );
}

import { CniError, Code } from "./error.ts";
import { pathOf, pointerSteps, requirementOf, stepsOf } from "../base/schema_error.ts";
import type { SchemaError } from "../base/schema_error.ts";
import { quote } from "../base/text.ts";
import { NetError } from "../net/error.ts";
import { isJsonArray, isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";
import type { KeyTree } from "../base/json_keys.ts";

/** A validator that ajv generated at build time from a schema of schemas/. */
export interface Validator<T> {
  (value: unknown): value is T;
  /** The keys that the schema knows. */
  readonly keys: KeyTree;
  errors?: readonly SchemaError[] | null;
}

/** Where administrators write network configs, for advice. */
const networkConfig = "the network config (/etc/cni/net.d)";

/** What to do about the keys of a config that the runtime adds to what the file says. */
const adviceForRuntimeKeys: ReadonlyMap<string, string> = new Map([
  ["prevResult", "The runtime passes prevResult: see its log, or delete and recreate the pod."],
  ["runtimeConfig", "The runtime passes runtimeConfig: correct what the pod asks for."],
  ["args", `Correct args where it is set: by the orchestrator, or in ${networkConfig}.`],
]);

const argsPath = " of CNI_ARGS";

/** The path of a key of CNI_ARGS, for messages. */
export function argPath(key: string): string {
  return key + argsPath;
}

/**
 * Checks a config against its schema.
 * @param what names the config in the message, such as "the bridge config".
 * @param advice what to do about a wrong value, where that is not to correct a network config.
 * @throws CniError InvalidNetworkConfig, with the path and the value that are wrong.
 */
export function validate<T>(
  validator: Validator<T>,
  value: JsonObject,
  what: string,
  advice?: string,
): T {
  if (validator(value)) return value;
  throw problemOf(validator, value, what, advice);
}

function problemOf(
  validator: Validator<unknown>,
  value: JsonObject,
  what: string,
  advice?: string,
): CniError {
  const [error] = validator.errors ?? [];
  if (error === undefined) return badConfig("", value, "must be valid", what, advice);
  const steps = stepsOf(error);
  return badConfig(pathOf(steps), valueAt(value, steps), requirementOf(error), what, advice);
}

/** How many wrong values are removed one by one. Beyond that, whole options are removed. */
const maxProblems = 32;

/**
 * A config without the values that violate its schema, for the verbs that go on without them.
 * @param warn is told of each, and its path.
 */
export function withoutInvalid(
  validator: Validator<unknown>,
  value: JsonObject,
  what: string,
  warn: (line: string, path: string) => void,
): JsonObject {
  if (validator(value)) return value;
  const copy = JSON.parse(JSON.stringify(value)) as JsonObject;
  for (let count = 1; !validator(copy); count++) {
    const [error] = validator.errors ?? [];
    const steps = error === undefined ? [] : pointerSteps(error);
    // At the top, only a missing key is an error. Then there is nothing to remove.
    if (error === undefined || steps.length === 0) break;
    warn(problemOf(validator, copy, what).message, pathOf(stepsOf(error)));
    removeAt(copy, count < maxProblems ? steps : steps.slice(0, 1));
  }
  return copy;
}

function removeAt(value: JsonObject, steps: readonly string[]): void {
  const parent = valueAt(value, steps.slice(0, -1));
  const last = steps.at(-1) ?? "";
  if (Array.isArray(parent)) parent.splice(Number(last), 1);
  else if (isJsonObject(parent)) Reflect.deleteProperty(parent, last);
}

/**
 * The error for a value of a config that cannot be used.
 * @param path where it is, such as "ipam.ranges[0]"; "" for the whole.
 * @param must what it must be, to follow "it": "must be a CIDR".
 * @param what names the config.
 * @param advice what to do about it, where that is not to correct a network config.
 */
export function badConfig(
  path: string,
  value: unknown,
  must: string,
  what: string,
  advice: string = adviceFor(path),
): CniError {
  const subject = path === "" ? what : `${path} in ${what}`;
  const got = value === undefined ? "" : ` (got ${show(value)})`;
  return new CniError(
    Code.InvalidNetworkConfig,
    `Cannot use ${subject}: it ${must}${got}.`,
    advice,
  );
}

/**
 * Reads a text of a config.
 * @param parse throws a NetError for what it cannot read.
 * @throws CniError InvalidNetworkConfig, see {@link badConfig}.
 */
export function parseAt<T>(
  parse: (text: string) => T,
  text: string,
  path: string,
  what: string,
  advice?: string,
): T {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
    throw badConfig(path, text, error.message, what, advice);
  }
}

function adviceFor(path: string): string {
  if (path.endsWith(argsPath)) return "The runtime sets CNI_ARGS: correct what the pod asks for.";
  const [root = ""] = path.split(/[.[]/, 1);
  const advice = adviceForRuntimeKeys.get(root);
  return (
    advice ?? (path === "" ? `Correct ${networkConfig}.` : `Correct ${path} in ${networkConfig}.`)
  );
}

function valueAt(value: Json, steps: readonly string[]): Json | undefined {
  return steps.reduce<Json | undefined>((at, step) => {
    if (isJsonArray(at)) return at[Number(step)];
    return isJsonObject(at) && Object.hasOwn(at, step) ? at[step] : undefined;
  }, value);
}

/** A value as a message shows it: short, and never a whole config. */
function show(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  return String(value);
}

/** A key's value if it is a string. */
export function stringAt(value: JsonObject, key: string): string | undefined {
  const found: Json | undefined = value[key];
  return typeof found === "string" ? found : undefined;
}

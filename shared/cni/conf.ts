import { CniError, Code } from "./error.ts";
import { quote } from "../base/text.ts";
import type { Json, JsonObject } from "../base/json.ts";

/** What ajv's generated code says is wrong (ajv's ErrorObject, with `verbose`). */
interface SchemaError {
  readonly instancePath: string;
  readonly keyword: string;
  readonly message?: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly data?: unknown;
}

/** A validator that ajv generated at build time from a schema of schemas/. */
export interface Validator<T> {
  (value: unknown): value is T;
  errors?: readonly SchemaError[] | null;
}

/**
 * Checks a config against its schema.
 * @param what names the config in the message, such as "the bridge config".
 * @throws CniError InvalidNetworkConfig, with the path and the value that are wrong.
 */
export function validate<T>(validator: Validator<T>, value: JsonObject, what: string): T {
  if (validator(value)) return value;
  const [error] = validator.errors ?? [];
  throw badConfig(
    pathOf(error),
    error?.keyword === "required" ? undefined : error?.data,
    error === undefined ? "is not valid" : wish(error),
    what,
  );
}

/**
 * The error for a value of the config that cannot be used.
 * @param path where it is, as "ipam.ranges[0]"; "" for the whole.
 * @param wrong what is wrong with it, to follow "which": "is no CIDR".
 */
export function badConfig(path: string, value: unknown, wrong: string, what: string): CniError {
  const subject = path === "" ? what : `${path} in ${what}`;
  return new CniError(
    Code.InvalidNetworkConfig,
    `Cannot use ${subject}: it is ${show(value)}, which ${wrong}.`,
    path === ""
      ? "Correct the network config (/etc/cni/net.d)."
      : `Correct ${path} in the network config (/etc/cni/net.d).`,
  );
}

function pathOf(error: SchemaError | undefined): string {
  if (error === undefined) return "";
  const missing = error.keyword === "required" ? error.params["missingProperty"] : undefined;
  const steps = error.instancePath.split("/").slice(1);
  if (typeof missing === "string") steps.push(missing);
  return steps
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce((path, step) => {
      if (/^\d+$/.test(step)) return `${path}[${step}]`;
      return path === "" ? step : `${path}.${step}`;
    }, "");
}

function wish(error: SchemaError): string {
  if (error.keyword === "required") return "must be set";
  const allowed = error.params["allowedValues"];
  if (Array.isArray(allowed)) return `must be one of ${allowed.map(String).join(", ")}`;
  return error.message ?? "is not valid";
}

/** A value as it is shown in a message: short, and never a whole config. */
function show(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null) return "an object";
  return JSON.stringify(value);
}

/** A key's value if it is a string. */
export function stringAt(value: JsonObject, key: string): string | undefined {
  const found: Json | undefined = value[key];
  return typeof found === "string" ? found : undefined;
}

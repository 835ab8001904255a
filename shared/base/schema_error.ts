/** What a schema demands of a value, in words: ajv reports a keyword and its parameters. */

/** What ajv's generated code reports (ajv's ErrorObject). */
export interface SchemaError {
  /** JSON pointer (RFC 6901) to the value. */
  readonly instancePath: string;
  readonly keyword: string;
  readonly params: Readonly<Record<string, unknown>>;
}

/** The keys and indexes that lead to the wrong value, or to where a missing one should be. */
export function stepsOf(error: SchemaError): string[] {
  const missing = error.keyword === "required" ? error.params["missingProperty"] : undefined;
  return typeof missing === "string" ? [...pointerSteps(error), missing] : pointerSteps(error);
}

/** The keys and indexes that lead to the wrong value. */
export function pointerSteps({ instancePath }: SchemaError): string[] {
  return instancePath.split("/").slice(1).map(unescape);
}

/** A step of a JSON pointer as the key that it stands for (RFC 6901, section 4). */
function unescape(step: string): string {
  return step.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** Steps as they are written in a message: "ipam.ranges[0]". */
export function pathOf(steps: readonly string[]): string {
  return steps.reduce((path, step) => {
    if (/^\d+$/.test(step)) return `${path}[${step}]`;
    return path === "" ? step : `${path}.${step}`;
  }, "");
}

/** JSON's types as they follow "must be". */
const typeNames: ReadonlyMap<unknown, string> = new Map([
  ["array", "a list"],
  ["boolean", "true or false"],
  ["integer", "an integer"],
  ["object", "an object"],
  ["string", "a string"],
]);

/** What a keyword of JSON Schema demands. */
export function requirementOf({ keyword, params }: SchemaError): string {
  switch (keyword) {
    case "required":
      return "must be set";
    case "type":
      return `must be ${typeNames.get(params["type"]) ?? String(params["type"])}`;
    case "minimum":
      return `must be at least ${String(params["limit"])}`;
    case "maximum":
      return `must be at most ${String(params["limit"])}`;
    case "minItems":
    case "minLength":
      return "must not be empty";
    case "enum":
      return `must be ${alternatives(params["allowedValues"])}`;
    default:
      return `must follow the schema's ${keyword}`;
  }
}

/** Choices as they follow "must be". null stands for leaving a key out. */
function alternatives(allowed: unknown): string {
  const choices = Array.isArray(allowed) ? allowed.filter((value) => value !== null) : [];
  const shown = choices.map((value) => JSON.stringify(value));
  return [shown.slice(0, -1).join(", "), ...shown.slice(-1)].filter(Boolean).join(" or ");
}

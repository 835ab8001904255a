/**
 * The keys that schemas know, as source code: KeyTrees of shared/base/json_keys.ts, by which a config
 * is read as Go reads it.
 */
import type { AnySchemaObject } from "ajv";

/** Marks an object of a schema that Go reads into a map, whose keys it compares as they are. */
export const mapKeyword = "x-go-map";

/** Writes the key trees of some schemas, by the names of their files. */
export class KeyTrees {
  readonly #schemas: ReadonlyMap<string, AnySchemaObject>;
  /** What several schemas refer to: a constant's name to its declaration. */
  readonly #shared = new Map<string, string>();

  constructor(schemas: ReadonlyMap<string, AnySchemaObject>) {
    this.#schemas = schemas;
  }

  /** The declarations that the trees written so far refer to, in order. */
  get declarations(): string[] {
    return [...this.#shared.values()];
  }

  /** The tree of a schema, or undefined where it knows no keys. @param file its file. */
  write(schema: AnySchemaObject, file: string): string | undefined {
    const { $ref: reference, items, properties } = schema as Record<string, unknown>;
    if (typeof reference === "string") return this.#writeShared(reference, file);
    if (isObject(items)) {
      const tree = this.write(items, file);
      return tree === undefined ? undefined : `{ items: ${tree} }`;
    }
    if (!isObject(properties)) return undefined;
    const isMap = schema[mapKeyword] === true;
    const keys = Object.entries(properties).map(([key, property]) => {
      if (/[^ -~]/.test(key)) throw new Error(`${file}: the key ${key} is not ASCII`);
      const tree = isObject(property) ? this.write(property, file) : undefined;
      const compared = JSON.stringify(isMap ? key : key.toLowerCase());
      return `${compared}: [${JSON.stringify(key)}${tree === undefined ? "" : `, ${tree}`}]`;
    });
    return `{ keys: { ${keys.join(", ")} }${isMap ? ", isMap: true" : ""} }`;
  }

  /** A constant of its own for what a reference leads to. */
  #writeShared(reference: string, from: string): string | undefined {
    const [path = "", pointer = ""] = reference.split("#");
    const file = path === "" ? from : path;
    const name = `keys_${file}${pointer}`.replaceAll(/\W/g, "_");
    if (this.#shared.has(name)) return name;
    const schema = pointer
      .split("/")
      .slice(1)
      .reduce<unknown>(
        (at, step) => (isObject(at) ? at[step] : undefined),
        this.#schemas.get(file),
      );
    if (!isObject(schema)) throw new Error(`${from}: nothing is at ${reference}`);
    const tree = this.write(schema, file);
    if (tree === undefined) return undefined;
    this.#shared.set(name, `const ${name} = ${tree};`);
    return name;
  }
}

/** Whether a value of a schema is an object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

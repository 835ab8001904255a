import { isJsonArray, isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";
import { StreamError } from "./json_splitter.ts";

/** What is read of an object. */
export interface ObjectMetadata {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  /** Milliseconds since the epoch; 0 if it is missing. */
  readonly created: number;
  /** The annotations whose keys begin with the requested prefix. */
  readonly annotations: ReadonlyMap<string, string>;
  /**
   * For a Node: the podCIDRs of its spec, or those that its managedFields name; undefined if
   * neither has any.
   */
  readonly podCidrs: readonly string[] | undefined;
  /** Whether podCIDRs is from the spec, which only the control plane can set. */
  readonly fromSpec: boolean;
}

/** @throws StreamError if the bytes are no JSON object. */
export function parseObject(bytes: Buffer): JsonObject {
  let value: Json;
  try {
    value = JSON.parse(bytes.toString()) as Json;
  } catch (cause) {
    throw new StreamError("a value is not JSON", { cause });
  }
  if (!isJsonObject(value)) throw new StreamError("a value is not an object");
  return value;
}

/**
 * The text that a member has; "" without one.
 * @throws StreamError if it is something else.
 */
export function textOf(value: Json | undefined): string {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") throw new StreamError("a value is not a text");
  return value;
}

/**
 * Reads an object, whole or its metadata alone.
 * @param annotationPrefix of the annotations that are wanted.
 * @throws StreamError
 */
export function readMetadata(object: JsonObject, annotationPrefix: string): ObjectMetadata {
  const { metadata, spec } = object;
  if (!isJsonObject(metadata)) throw new StreamError("an object has no metadata");
  const { name, uid, resourceVersion, creationTimestamp, annotations, managedFields } = metadata;
  const fromSpec = spec !== undefined;
  return {
    name: textOf(name),
    uid: textOf(uid),
    resourceVersion: textOf(resourceVersion),
    created: timeOf(textOf(creationTimestamp)),
    annotations: annotationsOf(objectOf(annotations), annotationPrefix),
    podCidrs: fromSpec ? podCidrsOfSpec(objectOf(spec)) : podCidrsOfFields(listOf(managedFields)),
    fromSpec,
  };
}

function timeOf(text: string): number {
  const time = Date.parse(text);
  return Number.isNaN(time) ? 0 : time;
}

function annotationsOf(annotations: JsonObject, prefix: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const key in annotations)
    if (key.startsWith(prefix)) found.set(key, textOf(annotations[key]));
  return found;
}

function podCidrsOfSpec({ podCIDR, podCIDRs }: JsonObject): readonly string[] | undefined {
  const several = listOf(podCIDRs).map(textOf);
  if (several.length > 0) return several;
  const single = textOf(podCIDR);
  return single === "" ? undefined : [single];
}

/**
 * podCIDRs is a set, so who has set it has its values in managedFields:
 * `[{"fieldsV1":{"f:spec":{"f:podCIDRs":{".":{},"v:\"10.244.1.0/24\"":{}}}}}]`.
 */
function podCidrsOfFields(managed: readonly Json[]): readonly string[] | undefined {
  const found = new Set<string>();
  for (const manager of managed) {
    const { "f:spec": spec } = objectOf(objectOf(manager)["fieldsV1"]);
    for (const key in objectOf(objectOf(spec)["f:podCIDRs"])) {
      if (key.startsWith('v:"') && key.endsWith('"')) found.add(key.slice(3, -1));
    }
  }
  return found.size === 0 ? undefined : [...found];
}

function objectOf(value: Json | undefined): JsonObject {
  if (value === undefined || value === null) return {};
  if (!isJsonObject(value)) throw new StreamError("a value is not an object");
  return value;
}

function listOf(value: Json | undefined): readonly Json[] {
  if (value === undefined || value === null) return [];
  if (!isJsonArray(value)) throw new StreamError("a value is not an array");
  return value;
}

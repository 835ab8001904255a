import type { JsonReader } from "./json_reader.ts";
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

/**
 * Reads an object, whole or its metadata alone.
 * @param annotationPrefix of the annotations that are wanted.
 * @throws StreamError
 */
export function readMetadata(json: JsonReader, annotationPrefix: string): ObjectMetadata {
  let [name, uid, resourceVersion, created] = ["", "", "", 0];
  let annotations: ReadonlyMap<string, string> = new Map();
  let [fromFields, fromSpec]: (readonly string[] | undefined)[] = [];
  let [hasMetadata, hasSpec] = [false, false];
  for (const member of json.members()) {
    if (member === "spec") {
      hasSpec = true;
      fromSpec = podCidrsOfSpec(json);
    }
    if (member !== "metadata") continue;
    hasMetadata = true;
    for (const key of json.members()) {
      if (key === "name") name = json.text();
      else if (key === "uid") uid = json.text();
      else if (key === "resourceVersion") resourceVersion = json.text();
      else if (key === "creationTimestamp") created = readTime(json);
      else if (key === "annotations") annotations = readAnnotations(json, annotationPrefix);
      else if (key === "managedFields") fromFields = podCidrsOfFields(json);
    }
  }
  if (!hasMetadata) throw new StreamError("an object has no metadata");
  const podCidrs = hasSpec ? fromSpec : fromFields;
  return { name, uid, resourceVersion, created, annotations, podCidrs, fromSpec: hasSpec };
}

function readTime(json: JsonReader): number {
  if (json.isNull) return 0;
  const time = Date.parse(json.text());
  return Number.isNaN(time) ? 0 : time;
}

function readAnnotations(json: JsonReader, prefix: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  if (json.isNull) return found;
  for (const key of json.members()) if (key.startsWith(prefix)) found.set(key, json.text());
  return found;
}

function podCidrsOfSpec(json: JsonReader): readonly string[] | undefined {
  const several: string[] = [];
  let single = "";
  for (const key of json.members()) {
    if (key === "podCIDR") single = json.text();
    if (key !== "podCIDRs" || json.isNull) continue;
    for (const _ of json.elements()) several.push(json.text());
  }
  if (several.length > 0) return several;
  return single === "" ? undefined : [single];
}

/**
 * podCIDRs is a set, so who has set it has its values in managedFields:
 * `[{"fieldsV1":{"f:spec":{"f:podCIDRs":{".":{},"v:\"10.244.1.0/24\"":{}}}}}]`.
 */
function podCidrsOfFields(json: JsonReader): readonly string[] | undefined {
  if (json.isNull) return undefined;
  const found = new Set<string>();
  for (const _ of json.elements()) addPodCidrs(json, ["fieldsV1", "f:spec", "f:podCIDRs"], found);
  return found.size === 0 ? undefined : [...found];
}

/** @param path the members that lead to the values, from outside. */
function addPodCidrs(json: JsonReader, [step, ...path]: readonly string[], to: Set<string>): void {
  for (const key of json.members()) {
    if (step === undefined) {
      if (key.startsWith('v:"') && key.endsWith('"')) to.add(key.slice(3, -1));
    } else if (key === step) addPodCidrs(json, path, to);
  }
}

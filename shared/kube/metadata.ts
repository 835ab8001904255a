import { elements, memberOf, members, textOf, valueOf } from "./json_members.ts";
import type { Span } from "./json_members.ts";
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
export function readMetadata(json: Buffer, whole: Span, annotationPrefix: string): ObjectMetadata {
  let [name, uid, resourceVersion, created] = ["", "", "", 0];
  let annotations: ReadonlyMap<string, string> = new Map();
  let managedFields: Span | undefined;
  let [metadata, spec]: (Span | undefined)[] = [];
  for (const { key, value } of members(json, whole)) {
    if (key === "metadata") metadata = value;
    else if (key === "spec") spec = value;
  }
  if (metadata === undefined) throw new StreamError("an object has no metadata");
  for (const { key, value } of members(json, metadata)) {
    if (key === "name") name = textOf(json, value);
    else if (key === "uid") uid = textOf(json, value);
    else if (key === "resourceVersion") resourceVersion = textOf(json, value);
    else if (key === "creationTimestamp") created = timeOf(json, value);
    else if (key === "annotations") annotations = readAnnotations(json, value, annotationPrefix);
    else if (key === "managedFields") managedFields = value;
  }
  const podCidrs =
    spec === undefined
      ? managedFields && podCidrsOfFields(json, managedFields)
      : podCidrsOfSpec(json, spec);
  const fromSpec = spec !== undefined;
  return { name, uid, resourceVersion, created, annotations, podCidrs, fromSpec };
}

function timeOf(json: Buffer, value: Span): number {
  if (valueOf(json, value) === null) return 0;
  const time = Date.parse(textOf(json, value));
  return Number.isNaN(time) ? 0 : time;
}

function readAnnotations(json: Buffer, whole: Span, prefix: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  if (isNull(json, whole)) return found;
  for (const { key, value } of members(json, whole)) {
    if (key.startsWith(prefix)) found.set(key, textOf(json, value));
  }
  return found;
}

function podCidrsOfSpec(json: Buffer, spec: Span): readonly string[] | undefined {
  const several = memberOf(json, spec, "podCIDRs");
  if (several !== undefined && !isNull(json, several)) {
    const found = [...elements(json, several)].map((element) => textOf(json, element));
    if (found.length > 0) return found;
  }
  const single = memberOf(json, spec, "podCIDR");
  const text = single === undefined ? "" : textOf(json, single);
  return text === "" ? undefined : [text];
}

/**
 * podCIDRs is a set, so who has set it has its values in managedFields:
 * `[{"fieldsV1":{"f:spec":{"f:podCIDRs":{".":{},"v:\"10.244.1.0/24\"":{}}}}}]`.
 */
function podCidrsOfFields(json: Buffer, managedFields: Span): readonly string[] | undefined {
  const found = new Set<string>();
  if (isNull(json, managedFields)) return undefined;
  for (const entry of elements(json, managedFields)) {
    let at: Span | undefined = entry;
    for (const step of ["fieldsV1", "f:spec", "f:podCIDRs"]) at &&= memberOf(json, at, step);
    if (at === undefined) continue;
    for (const { key } of members(json, at)) {
      if (key.startsWith('v:"') && key.endsWith('"')) found.add(key.slice(3, -1));
    }
  }
  return found.size === 0 ? undefined : [...found];
}

function isNull(json: Buffer, { start, end }: Span): boolean {
  return end - start === 4 && json.toString("latin1", start, end) === "null";
}

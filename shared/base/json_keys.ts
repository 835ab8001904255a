import { isJsonArray, isJsonObject } from "./json.ts";
import type { Json, JsonObject } from "./json.ts";

/** The keys that a schema knows, as scripts/build/gen_schemas.ts takes them from it. */
export type KeyTree = ObjectKeys | ListKeys;

interface ObjectKeys {
  /** By their folded form ({@link fold}). */
  readonly keys: Readonly<Record<string, readonly [exact: string, tree?: KeyTree]>>;
  /** Whether Go reads it into a map, for which "Type" is not "type". */
  readonly isMap?: boolean;
}

interface ListKeys {
  readonly items: KeyTree;
}

/**
 * Spells the keys of a JSON value as its schema does. Go's encoding/json, by which the reference
 * plugins and runtimes read, takes a key in another letter case too: containerd passes "HostPort".
 *
 * If there are several spellings of a key, the last one counts, and objects and lists are merged into
 * those before. Of a key that is written twice in the same case, JSON.parse keeps the last one alone.
 *
 * @returns the same value where all known keys are spelled right.
 */
export function withExactKeys<T extends Json>(value: T, tree: KeyTree): T;
export function withExactKeys(value: Json, tree: KeyTree): Json {
  if ("items" in tree) {
    return isJsonArray(value) ? mapped(value, (item) => withExactKeys(item, tree.items)) : value;
  }
  return isJsonObject(value) ? objectWithExactKeys(value, tree) : value;
}

function objectWithExactKeys(value: JsonObject, tree: ObjectKeys): JsonObject {
  let isExact = true;
  const entries = Object.keys(value).map((key) => {
    const given = value[key] ?? null;
    const [exact, inner] = knownKey(key, tree);
    const respelled = inner === undefined ? given : withExactKeys(given, inner);
    isExact &&= key === exact && respelled === given;
    return { exact, inner, respelled };
  });
  if (isExact) return value;
  const merged = new Map<string, Json>();
  for (const { exact, inner, respelled } of entries) {
    const before = merged.get(exact);
    merged.set(exact, before === undefined ? respelled : merge(before, respelled, inner));
  }
  return Object.fromEntries(merged);
}

function knownKey(key: string, { keys, isMap }: ObjectKeys): readonly [string, tree?: KeyTree] {
  const compared = isMap === true ? key : fold(key);
  return (Object.hasOwn(keys, compared) ? keys[compared] : undefined) ?? [key];
}

/**
 * The result of decoding a value into an existing one, as Go does. The values of a map are
 * replaced.
 */
function merge(before: Json, added: Json, tree: KeyTree | undefined): Json {
  if (added === null) return isJsonArray(before) ? null : before;
  if (isJsonArray(before) && isJsonArray(added)) {
    const inner = tree !== undefined && "items" in tree ? tree.items : undefined;
    return added.map((item, at) => {
      return at < before.length ? merge(before[at] ?? null, item, inner) : item;
    });
  }
  if (!isJsonObject(before) || !isJsonObject(added)) return added;
  const merged = new Map(Object.entries(before));
  for (const [key, item = null] of Object.entries(added)) {
    const earlier = merged.get(key);
    const [, inner] = tree !== undefined && "keys" in tree ? knownKey(key, tree) : [];
    const isNew = earlier === undefined || tree === undefined;
    merged.set(key, isNew ? item : merge(earlier, item, inner));
  }
  return Object.fromEntries(merged);
}

/** The list itself if all items stay the same. */
function mapped(list: readonly Json[], change: (item: Json) => Json): readonly Json[] {
  const items = list.map(change);
  return items.every((item, at) => item === list[at]) ? list : items;
}

/**
 * The form in which Go compares keys (foldName in encoding/json): by Unicode's simple folding, which
 * takes the long s for an s, and the Kelvin sign for a k. Known keys are ASCII, so that no other
 * folding matters; toLowerCase knows the Kelvin sign.
 */
export function fold(key: string): string {
  return key.toLowerCase().replaceAll("ſ", "s");
}

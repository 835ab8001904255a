import type { Json, JsonObject } from "./json.ts";

/** An object with the known keys in their usual letter case, and the names of unknown keys. */
export interface FoldedObject {
  readonly object: JsonObject;
  readonly unknown: readonly string[];
}

/**
 * Names the keys of a JSON object as Go's encoding/json would find them: letter case does not
 * matter, and of two that mean the same the later one counts. A null leaves the default, as a
 * missing key does.
 * @param names the keys in their usual case.
 */
export function foldKeys(object: JsonObject, names: readonly string[]): FoldedObject {
  const usual = new Map(names.map((name) => [foldCase(name), name]));
  const unknown: string[] = [];
  const found = new Map<string, Json>();
  for (const [key, value] of Object.entries(object)) {
    const name = usual.get(foldCase(key));
    if (name === undefined) unknown.push(key);
    else if (value !== undefined && value !== null) found.set(name, value);
  }
  return { object: Object.fromEntries(found), unknown };
}

/** Go folds the two letters outside of ASCII that Unicode folds to ASCII ones: ſ and K (Kelvin). */
function foldCase(text: string): string {
  return text.replaceAll("\u{17f}", "s").replaceAll("\u{212a}", "k").toLowerCase();
}

/** A JSON text as Go's encoding/json writes it: safe to stand in HTML. */
export function formatGoJson(value: Json): string {
  return JSON.stringify(value).replaceAll(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

import type { Json } from "../base/json.ts";

/** A JSON text's value, or undefined if it is none. */
export function parseJson(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

import { isJsonArray, isJsonObject, parseJson } from "../../shared/base/json.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import { readIfPresent } from "../../shared/files/read_file.ts";
import { writeIfOther } from "../../shared/files/write_if_other.ts";

/** The Backend objects of a node's net-conf.json: the one that it has, and those of before that peers have. */
export function readBackends(path: string): readonly JsonObject[] {
  let text: string | undefined;
  try {
    text = readIfPresent(path);
  } catch {
    return [];
  }
  const backends = text === undefined ? undefined : parseJson(text);
  return isJsonArray(backends) ? backends.filter(isJsonObject) : [];
}

/** They may have secrets. @throws Failure io */
export function writeBackends(path: string, backends: readonly JsonObject[]): void {
  writeIfOther(path, `${JSON.stringify(backends)}\n`, 0o600);
}

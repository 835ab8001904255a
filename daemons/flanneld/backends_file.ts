import { Failure, messageOf } from "../../shared/base/failure.ts";
import { isJsonArray, isJsonObject, parseJson } from "../../shared/base/json.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import { ensureFolder, readIfPresent, replaceFile } from "../../shared/files/files.ts";

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
  const text = `${JSON.stringify(backends)}\n`;
  try {
    if (readIfPresent(path) === text) return;
    ensureFolder(path.slice(0, Math.max(path.lastIndexOf("/"), 1)), 0o755);
    replaceFile(path, text, 0o600);
  } catch (cause) {
    throw new Failure(
      "io",
      `Cannot write ${path}: ${messageOf(cause)}.`,
      "Make its folder writable, and make room on its file system.",
      { cause },
    );
  }
}

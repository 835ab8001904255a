import { Failure, messageOf } from "../base/failure.ts";
import { ensureFolder, replaceFile } from "./files.ts";
import { readIfPresent } from "./read_file.ts";

/**
 * Replaces a file whose text is another one, and makes its folder.
 * @param advice what to do where that fails.
 * @returns whether it was written.
 * @throws Failure io
 */
export function writeIfOther(path: string, text: string, mode: number, advice: string): boolean {
  try {
    if (readIfPresent(path) === text) return false;
    ensureFolder(path.slice(0, Math.max(path.lastIndexOf("/"), 1)), 0o755);
    replaceFile(path, text, mode);
    return true;
  } catch (cause) {
    throw new Failure("io", `Cannot write ${path}: ${messageOf(cause)}.`, advice, { cause });
  }
}

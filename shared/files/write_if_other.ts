import { Failure, messageOf } from "../base/failure.ts";
import { ensureFolderOf, replaceFile } from "./files.ts";
import { readIfPresent } from "./read_file.ts";

/**
 * Replaces a file whose text is another one, and makes its folder.
 * @param advice what to do where that fails.
 * @returns whether it was written.
 * @throws Failure io
 */
export function writeIfOther(
  path: string,
  text: string,
  mode: number,
  advice = "Make its folder writable, and make room on its file system.",
): boolean {
  try {
    if (readIfPresent(path) === text) return false;
    ensureFolderOf(path);
    replaceFile(path, text, mode);
    return true;
  } catch (cause) {
    throw new Failure("io", `Cannot write ${path}: ${messageOf(cause)}.`, advice, { cause });
  }
}

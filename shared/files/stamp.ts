import { lstatSync, utimesSync } from "node:fs";

/**
 * A folder's stamp. As long as it stays the same, no name in the folder has been made, renamed or
 * removed since {@link stampFolder}. Undefined if there is no such folder.
 */
export function stampOf(folder: string): string | undefined {
  const found = lstatSync(folder, { throwIfNoEntry: false, bigint: true });
  return found && `${String(found.dev)}:${String(found.ino)}:${String(found.mtimeNs)}`;
}

/**
 * Gives a folder a stamp: a time of modification that nothing else sets. The kernel's own would not
 * do, because all changes within some milliseconds get the same.
 */
export function stampFolder(folder: string): string | undefined {
  const now = Date.now() / 1000;
  utimesSync(folder, now, now - 1 - Math.random());
  return stampOf(folder);
}

/**
 * Replaces the package `koffi` in the executable that pkg makes: loads its native part from the
 * executable itself. The loader needs a file. It gets one without a name, so that nothing stays behind
 * and nobody can replace it.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { getRawAsset } from "node:sea";
import type koffi from "koffi";

/** O_TMPFILE, which Node does not define. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** Memory first. Not every folder may hold executables; the folder of this one may. */
const folders = ["/dev/shm", "/tmp", "/run", "/var/tmp", dirname(process.execPath)];

export default load();

function load(): typeof koffi {
  const content = new Uint8Array(getRawAsset("koffi.node"));
  const failures: string[] = [];
  for (const folder of folders) {
    try {
      return loadFrom(folder, content);
    } catch (error) {
      failures.push(`${folder}: ${(error as Error).message}`);
    }
  }
  throw new Error(`no folder to load native code from (${failures.join("; ")})`);
}

function loadFrom(folder: string, content: Uint8Array): typeof koffi {
  const fd = openSync(folder, O_TMPFILE | constants.O_RDWR, 0o700);
  try {
    for (let at = 0; at < content.length; ) at += writeSync(fd, content, at);
    const module: { exports: unknown } = { exports: {} };
    process.dlopen(module, `/proc/self/fd/${fd}`);
    return module.exports as typeof koffi;
  } finally {
    closeSync(fd);
  }
}

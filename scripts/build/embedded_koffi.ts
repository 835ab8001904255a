/**
 * Stands in for the package `koffi` in the executable that pkg makes: its native part, loaded from
 * the executable itself. The loader wants a file, so it gets one that has no name: nothing stays
 * behind, and nobody can put another in its place.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { getRawAsset } from "node:sea";
import type koffi from "koffi";

/** An open(2) flag that Node has no name for, the same on all of Linux's processors. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** In memory first; the executable's own folder is the one sure to allow programs. */
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

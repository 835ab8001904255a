import { closeSync, openSync, readSync } from "node:fs";
import type { Content } from "./files.ts";

/**
 * Bytes of one read and write. The page cache keeps a file in pieces as long as the writes were
 * (ext4, XFS), and a process that runs it maps whole pieces: longer ones cost it memory, shorter ones
 * time. See docs/decisions/0010-page-cache.md.
 */
const partSize = 64 * 1024;

/** The content of a file. */
export function contentOf(path: string): Exclude<Content, string> {
  return (take) => {
    const fd = openSync(path, "r");
    try {
      const part = Buffer.allocUnsafe(partSize);
      for (let length = 1; length > 0; ) {
        length = readSync(fd, part, 0, partSize, null);
        take(part.subarray(0, length));
      }
    } finally {
      closeSync(fd);
    }
  };
}

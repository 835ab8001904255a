import type { Sys } from "../runtime/sys.ts";

/** Bytes; every file system with extended attributes has room for that many. */
const maxAttribute = 4096;

/** Extended attributes of files. */
export interface Attributes {
  /** Undefined if the file does not have it, or the file system has no attributes. */
  attribute(path: string, name: string): string | undefined;
  /** Sets one. Nothing happens if the file system has no attributes, or the caller may not set them. */
  setAttribute(path: string, name: string, value: string): void;
}

export function fileAttributes(sys: Sys): Attributes {
  const buffer = Buffer.alloc(maxAttribute);
  return {
    attribute(path, name) {
      const length = sys.lgetxattr(path, name, buffer);
      return length < 0 ? undefined : buffer.toString("utf8", 0, length);
    },
    setAttribute(path, name, value) {
      sys.lsetxattr(path, name, Buffer.from(value));
    },
  };
}

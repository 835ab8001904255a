import type { Sys } from "../runtime/sys.ts";

/** Bytes that every file system with extended attributes has room for. */
const maxAttribute = 4096;

/** The extended attributes of files. */
export interface Attributes {
  /** Undefined if it has none, or its file system knows none. */
  attribute(path: string, name: string): string | undefined;
  /** Sets one, where the file system has them and the caller may. */
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

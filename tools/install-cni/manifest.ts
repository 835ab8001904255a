import { join } from "node:path";
import { readIfPresent } from "../../shared/files/read_file.ts";

/**
 * What was installed in a folder, kept in it as a file that `sha256sum --check` reads too. While an
 * install is under way, a name may have two lines: the digest of before, and that which it will have.
 */
export const manifestName = ".flannel-cni.sha256";

/** One of its lines. */
export interface Line {
  readonly name: string;
  readonly digest: string;
}

/** Name → the digests that were installed under it. */
export type Manifest = ReadonlyMap<string, readonly string[]>;

/** Reads a folder's manifest. Lines that are none, as a broken disk leaves them, say nothing. */
export function readManifest(folder: string): Manifest {
  const text = readIfPresent(join(folder, manifestName)) ?? "";
  return manifestOf(
    text.split("\n").flatMap((line) => {
      const [, digest = "", name = ""] = /^([0-9a-f]{64}) {2}([^/]+)$/.exec(line) ?? [];
      return name === "" || name === "." || name === ".." ? [] : [{ name, digest }];
    }),
  );
}

/** A manifest of its lines. */
export function manifestOf(lines: readonly Line[]): Manifest {
  const manifest = new Map<string, readonly string[]>();
  for (const { name, digest } of lines) {
    manifest.set(name, [...new Set([...(manifest.get(name) ?? []), digest])]);
  }
  return manifest;
}

/** The lines of a manifest. */
export function linesOf(manifest: Manifest): Line[] {
  return [...manifest].flatMap(([name, digests]) => digests.map((digest) => ({ name, digest })));
}

/** A manifest as it is written down: the same for the same content. */
export function textOf(manifest: Manifest): string {
  return linesOf(manifest)
    .map(({ name, digest }) => `${digest}  ${name}\n`)
    .toSorted()
    .join("");
}

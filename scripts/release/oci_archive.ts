/** An image as an OCI archive, for `ctr images import` and `podman load`. */
import { createHash } from "node:crypto";
import { dirname } from "node:path";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";

/** A file or symbolic link of an archive. */
export interface Entry {
  readonly path: string;
  /** The content of a file, or the target of a symbolic link. */
  readonly content: Uint8Array | string;
  readonly mode: number;
}

/** What an image is, and how its containers start. */
export interface Image {
  /** With its tag. */
  readonly name: string;
  /** As Go calls it. */
  readonly architecture: string;
  readonly entrypoint: readonly string[];
  readonly env: readonly string[];
  readonly files: readonly Entry[];
  /** gzip's. */
  readonly level: number;
}

/** A reference to bytes by their digest (OCI image specification, "Descriptor"). */
interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** The archive of an image with one layer. The same files always give the same bytes. */
export async function archiveOf(image: Image): Promise<Buffer> {
  const { name, architecture, entrypoint, env, files, level } = image;
  const layer = await tarOf(files);
  const compressed = gzipSync(layer, { level });
  const config = jsonOf({
    architecture,
    os: "linux",
    config: { Entrypoint: entrypoint, Env: env, WorkingDir: "/" },
    rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
  });
  const manifest = jsonOf({
    schemaVersion: 2,
    mediaType: typeOf("manifest.v1+json"),
    config: descriptorOf(typeOf("config.v1+json"), config),
    layers: [descriptorOf(typeOf("layer.v1.tar+gzip"), compressed)],
  });
  const index = jsonOf({
    schemaVersion: 2,
    mediaType: typeOf("index.v1+json"),
    manifests: [
      {
        ...descriptorOf(typeOf("manifest.v1+json"), manifest),
        platform: { architecture, os: "linux" },
        annotations: {
          // The one that podman reads, and the one that containerd does, which wants it in full.
          "org.opencontainers.image.ref.name": name,
          "io.containerd.image.name": `docker.io/library/${name}`,
        },
      },
    ],
  });
  const blob = (content: Buffer): Entry => ({
    path: `blobs/sha256/${digestOf(content).slice("sha256:".length)}`,
    content,
    mode: 0o644,
  });
  return tarOf([
    { path: "oci-layout", content: jsonOf({ imageLayoutVersion: "1.0.0" }), mode: 0o644 },
    { path: "index.json", content: index, mode: 0o644 },
    ...[config, manifest, compressed].map(blob),
  ]);
}

/** A tar archive without time stamps or anything else that changes from run to run. */
async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const archive = pack();
  const bytes = buffer(archive);
  const root = { uid: 0, gid: 0, mtime: new Date(0) };
  const folders = new Set(entries.flatMap(({ path }) => parentsOf(path)));
  for (const name of [...folders].toSorted()) {
    archive.entry({ ...root, name: `${name}/`, type: "directory", mode: 0o755 });
  }
  for (const { path, content, mode } of entries) {
    if (typeof content !== "string") {
      archive.entry({ ...root, name: path, mode }, Buffer.from(content));
    } else {
      archive.entry({ ...root, name: path, mode, type: "symlink", linkname: content });
    }
  }
  archive.finalize();
  return bytes;
}

function parentsOf(path: string): string[] {
  const parent = dirname(path);
  return parent === "." ? [] : [...parentsOf(parent), parent];
}

function typeOf(what: string): string {
  return `application/vnd.oci.image.${what}`;
}

function descriptorOf(mediaType: string, content: Buffer): Descriptor {
  return { mediaType, digest: digestOf(content), size: content.length };
}

function digestOf(content: Uint8Array): string {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}

function jsonOf(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

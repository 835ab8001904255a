/**
 * Writes the init container's image without an engine: an OCI archive for `ctr images import` and
 * `podman load`. It has the executable and the libraries that it needs. The same files always give the
 * same bytes.
 *
 *   image.ts [--bin FOLDER] [--out FOLDER] [--level NUMBER]    dist/bin, dist/image, and gzip's level 6
 */
import { createHash } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { buffer } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { execa } from "execa";
import { pack } from "tar-stream";

/** A file or symbolic link of an archive. */
interface Entry {
  readonly path: string;
  /** The content of a file, or the target of a symbolic link. */
  readonly content: Uint8Array | string;
  readonly mode: number;
}

/** A reference to bytes by their digest (OCI image specification, "Descriptor"). */
interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

const architectures: Readonly<Record<string, string>> = { x64: "amd64" };
const architecture = architectures[process.arch] ?? process.arch;
const executable = "flannel";

/** For manifests of other images, whose init container calls `cp -f /flannel …`. */
const copier = "bin/cp";

const { values } = parseArgs({
  options: {
    bin: { type: "string", default: "dist/bin" },
    out: { type: "string", default: "dist/image" },
    level: { type: "string", default: "6" },
  },
});

try {
  await main(values.bin, values.out, Number(values.level));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main(bin: string, out: string, level: number): Promise<void> {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  const files = await filesOf(join(bin, executable));
  const root = join(out, "root");
  rmSync(root, { recursive: true, force: true });
  for (const [path, from] of files) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    copyFileSync(from, join(root, path));
  }
  mkdirSync(dirname(join(root, copier)), { recursive: true });
  symlinkSync(`/${executable}`, join(root, copier));
  const archive = join(out, `flannel-cni-${version}-${architecture}.tar`);
  writeFileSync(archive, await imageOf(files, `flannel-cni:${version}`, level));
  const megabytes = (statSync(archive).size / 1e6).toFixed(0);
  console.log(`${archive}: ${megabytes} MB, with ${files.size - 1} libraries`);
}

/** Path in the image → file: the executable, and what the dynamic linker loads for it. */
async function filesOf(path: string): Promise<ReadonlyMap<string, string>> {
  const { stdout } = await execa("ldd", [path], { env: { LC_ALL: "C" } });
  const libraries = Array.from(stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g), ([, file = ""]) => file);
  if (libraries.length === 0) throw new Error(`ldd names no library of ${path}: ${stdout}`);
  return new Map([
    [executable, path],
    // The path that the executable looks for, even if it is a link on this machine.
    ...libraries.toSorted().map((file): [string, string] => [file.slice(1), file]),
  ]);
}

async function imageOf(
  files: ReadonlyMap<string, string>,
  name: string,
  level: number,
): Promise<Buffer> {
  const layer = await tarOf([
    ...Array.from(files, ([path, file]) => ({ path, content: readFileSync(file), mode: 0o755 })),
    { path: copier, content: `/${executable}`, mode: 0o777 },
  ]);
  const compressed = gzipSync(layer, { level });
  const config = jsonOf({
    architecture,
    os: "linux",
    config: { Entrypoint: [`/${executable}`, "install-cni"], Env: ["PATH=/bin"], WorkingDir: "/" },
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

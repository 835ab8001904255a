/**
 * Writes the image without an engine: an OCI archive for `ctr images import` and `podman load`, and the
 * folder of its files for deploy/Dockerfile. The same files always give the same bytes.
 *
 *   image.ts [--bin FOLDER] [--out FOLDER] [--level NUMBER]    dist/bin, dist/image, and gzip's level 6
 */
import { mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { imageFiles } from "./image_files.ts";
import { archiveOf } from "./oci_archive.ts";
import type { Entry } from "./oci_archive.ts";

const architectures: Readonly<Record<string, string>> = { x64: "amd64" };

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
  const architecture = architectures[process.arch] ?? process.arch;
  const files = await imageFiles(bin);
  writeRoot(join(out, "root"), files);
  const archive = join(out, `flannel-cni-${version}-${architecture}.tar`);
  const image = await archiveOf({
    ...{ name: `flannel-cni:${version}`, architecture, files, level },
    entrypoint: ["/flannel", "install-cni"],
    env: ["PATH=/usr/sbin:/bin"],
  });
  writeFileSync(archive, image);
  const megabytes = [statSync(archive).size, sizeOf(files)].map((size) => (size / 1e6).toFixed(0));
  console.log(`${archive}: ${megabytes.join(" MB, unpacked ")} MB`);
}

function writeRoot(root: string, files: readonly Entry[]): void {
  rmSync(root, { recursive: true, force: true });
  for (const { path, content, mode } of files) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    if (typeof content === "string") symlinkSync(content, join(root, path));
    else writeFileSync(join(root, path), content, { mode });
  }
}

function sizeOf(files: readonly Entry[]): number {
  return files.reduce((sum, { content }) => sum + content.length, 0);
}

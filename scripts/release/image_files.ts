/** What the image holds: the executable by its names, the firewall's tools, ping, and the libraries of all. */
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { findExecutable } from "../../shared/files/files.ts";
import type { Entry } from "./oci_archive.ts";

const executable = "flannel";

/**
 * Other names of the executable, for those who enter a container. `cp` is for the init containers of
 * other images' manifests, `/opt/bin/flanneld` for their flanneld.
 */
const links = [
  ...["flannel", "flanneld", "cnitool", "install-cni", "cp"].map((name) => `bin/${name}`),
  ...["flanneld", "mk-docker-opts.sh"].map((name) => `opt/bin/${name}`),
];

/** The two executables of iptables, which have a name for each variant, family and use. */
const iptables = ["nft", "legacy"].map((variant) => ({
  file: `xtables-${variant}-multi`,
  names: ["iptables", "ip6tables"].flatMap((family) =>
    ["", "-restore", "-save"].map((use) => `${family}-${variant}${use}`),
  ),
}));

const toolFolders = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin"];

/**
 * The files and links of the image. No name such as `iptables` says which variant is meant: flanneld
 * takes the one that the node has rules of.
 * @param bin the folder of a build.
 */
export async function imageFiles(bin: string): Promise<readonly Entry[]> {
  const tools = iptables.map(({ file, names }) => ({ path: toolPath(file), file, names }));
  // doctor asks other nodes by ping.
  const more = ["nft", "ping"].map((name) => ({ name, path: toolPath(name) }));
  const libraries = await librariesOf([
    join(bin, executable),
    ...[...tools, ...more].map(({ path }) => path),
  ]);
  const extensions = extensionsOf(libraries);
  const libraryFiles = new Set([...libraries, ...(await librariesOf(extensions))]);
  return [
    fileAt(executable, join(bin, executable)),
    ...links.map((path) => linkTo(path, `/${executable}`)),
    // Runtimes name pods' namespaces by it.
    linkTo("var/run", "/run"),
    ...more.map(({ name, path }) => fileAt(`usr/sbin/${name}`, path)),
    ...tools.flatMap(({ path, file, names }) => [
      fileAt(`usr/sbin/${file}`, path),
      ...names.map((name) => linkTo(`usr/sbin/${name}`, file)),
    ]),
    ...extensions.map((path) => fileAt(path.slice(1), path)),
    // The path that the executable looks for, even if it is a link on this machine.
    ...[...libraryFiles].toSorted().map((path) => fileAt(path.slice(1), path)),
  ];
}

function fileAt(path: string, from: string): Entry {
  return { path, content: readFileSync(from), mode: 0o755 };
}

function linkTo(path: string, target: string): Entry {
  return { path, content: target, mode: 0o777 };
}

function toolPath(name: string): string {
  const path = findExecutable(name, toolFolders);
  if (path !== undefined) return path;
  throw new Error(
    `Cannot make the image: it has ${name} in it, which is not installed here. Install iptables, nftables and iputils-ping.`,
  );
}

/** What the dynamic linker loads for executables or libraries. */
async function librariesOf(paths: readonly string[]): Promise<readonly string[]> {
  const { stdout } = await execa("ldd", paths, { env: { LC_ALL: "C" } });
  const found = Array.from(stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g), ([, file = ""]) => file);
  if (found.length === 0) throw new Error(`ldd names no library of ${paths.join(", ")}: ${stdout}`);
  return [...new Set(found)];
}

/** iptables' matches and targets, of which iptables-save needs those of every rule on the node. */
function extensionsOf(libraries: readonly string[]): readonly string[] {
  const library = libraries.find((path) => path.includes("/libxtables."));
  if (library === undefined) throw new Error("iptables does not use libxtables.");
  const folder = join(dirname(realpathSync(library)), "xtables");
  return readdirSync(folder)
    .filter((name) => name.endsWith(".so"))
    .toSorted()
    .map((name) => join(folder, name));
}

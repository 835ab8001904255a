/**
 * Files inside a sandbox's mount namespace, reached through /proc/PID/root without another process.
 *
 * The kernel follows an absolute symbolic link from the *caller's* root, so /var/run in the sandbox
 * would lead to the machine's own /run. So paths are resolved here, link by link, and only the
 * sandbox's private directories can be written.
 */
import { existsSync, lstatSync, readlinkSync } from "node:fs";
import { mkdir, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

/** The sandbox's private directories, which disappear with it. */
export const PRIVATE_DIRECTORIES = ["/run", "/etc/cni", "/opt/cni", "/var/lib/cni"] as const;

/** Access to the files of a sandbox. All paths are absolute, as seen inside. */
export interface SandboxFiles {
  /** Writes a file, and makes its directory if necessary. */
  writeFile(path: string, content: string, mode?: number): Promise<void>;
  readFile(path: string): Promise<string>;
  exists(path: string): Promise<boolean>;
  /** Permission bits, such as 0o644. */
  mode(path: string): Promise<number>;
  /** The names in a directory, sorted; none if it does not exist. */
  list(directory: string): Promise<readonly string[]>;
  /** Removes a file, or a directory with its content. */
  remove(path: string): Promise<void>;
}

/** Files as process `pid` sees them. */
export function sandboxFiles(pid: number): SandboxFiles {
  const root = `/proc/${pid}/root`;
  const inside = (path: string): string => root + resolveInside(root, path);
  const writable = (path: string): string => {
    const resolved = resolveInside(root, path);
    if (!PRIVATE_DIRECTORIES.some((directory) => resolved.startsWith(`${directory}/`))) {
      throw new Error(`Cannot write ${path}: it is not in a directory of the sandbox's own`);
    }
    return root + resolved;
  };
  return {
    async writeFile(path, content, mode = 0o644) {
      const target = writable(path);
      await mkdir(dirname(target), { recursive: true });
      await writeFile(target, content, { mode });
    },
    async readFile(path) {
      return readFile(inside(path), "utf8");
    },
    async exists(path) {
      return Promise.resolve(existsSync(inside(path)));
    },
    async mode(path) {
      return (await stat(inside(path))).mode & 0o7777;
    },
    async list(directory) {
      const target = inside(directory);
      return existsSync(target) ? (await readdir(target)).toSorted() : [];
    },
    async remove(path) {
      await rm(writable(path), { recursive: true, force: true });
    },
  };
}

/** Follows symbolic links as a process inside `root` would. */
function resolveInside(root: string, path: string): string {
  if (!path.startsWith("/")) throw new Error(`Cannot use ${path} in a sandbox: it is not absolute`);
  let resolved = "/";
  const pending = resolve(path).split("/").filter(Boolean);
  for (let links = 0; pending.length > 0; ) {
    const next = join(resolved, pending.shift() ?? "");
    const isLink = lstatSync(root + next, { throwIfNoEntry: false })?.isSymbolicLink() === true;
    if (!isLink) {
      resolved = next;
      continue;
    }
    if (++links > 40) throw new Error(`Cannot use ${path} in a sandbox: too many links`);
    const target = readlinkSync(root + next);
    pending.unshift(...resolve(resolved, target).split("/").filter(Boolean));
    resolved = "/";
  }
  return resolved;
}

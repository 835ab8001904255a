/**
 * Files inside a sandbox's mount namespace, reached through /proc/PID/root without another process.
 *
 * The kernel follows an absolute symbolic link from the *caller's* root, so /var/run in the sandbox
 * would lead to the machine's own /run. So paths are resolved here, link by link, and only the
 * sandbox's private directories can be written.
 */
import { lstat, mkdir, readFile, readdir, readlink, rm, stat, writeFile } from "node:fs/promises";
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
  const inside = async (path: string): Promise<string> => root + (await resolveInside(root, path));
  const writable = async (path: string): Promise<string> => {
    const resolved = await resolveInside(root, path);
    if (!PRIVATE_DIRECTORIES.some((directory) => resolved.startsWith(`${directory}/`))) {
      throw new Error(`Cannot write ${path}: it is not in a directory of the sandbox's own`);
    }
    return root + resolved;
  };
  return {
    async writeFile(path, content, mode = 0o644) {
      const target = await writable(path);
      await mkdir(dirname(target), { recursive: true });
      await writeFile(target, content, { mode });
    },
    async readFile(path) {
      return readFile(await inside(path), "utf8");
    },
    async exists(path) {
      return (await statOrNothing(await inside(path))) !== undefined;
    },
    async mode(path) {
      return (await stat(await inside(path))).mode & 0o7777;
    },
    async list(directory) {
      const target = await inside(directory);
      if ((await statOrNothing(target)) === undefined) return [];
      return (await readdir(target)).toSorted();
    },
    async remove(path) {
      await rm(await writable(path), { recursive: true, force: true });
    },
  };
}

/** Follows symbolic links as a process inside `root` would. */
async function resolveInside(root: string, path: string): Promise<string> {
  if (!path.startsWith("/")) throw new Error(`Cannot use ${path} in a sandbox: it is not absolute`);
  let resolved = "/";
  const pending = resolve(path).split("/").filter(Boolean);
  for (let links = 0; pending.length > 0; ) {
    const next = join(resolved, pending.shift() ?? "");
    const target = await linkTarget(root + next);
    if (target === undefined) {
      resolved = next;
      continue;
    }
    if (++links > 40) throw new Error(`Cannot use ${path} in a sandbox: too many links`);
    pending.unshift(...resolve(resolved, target).split("/").filter(Boolean));
    resolved = "/";
  }
  return resolved;
}

async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return (await lstat(path)).isSymbolicLink() ? await readlink(path) : undefined;
  } catch {
    return undefined;
  }
}

async function statOrNothing(path: string): Promise<object | undefined> {
  try {
    return await stat(path);
  } catch {
    return undefined;
  }
}

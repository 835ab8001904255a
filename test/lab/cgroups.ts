/**
 * Mounts the machine's cgroups in a sandbox, whose new /sys hides them. The sandbox's containers live
 * below one group, which is removed with everything in it.
 */
import { readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { mountsOf } from "./mounts.ts";
import type { Sandbox } from "./sandbox.ts";

const ROOT = "/sys/fs/cgroup";
const NAME = /^flannel-cni-test-(\d+)-\d+$/;

/** One hierarchy of cgroups. */
interface Hierarchy {
  readonly path: string;
  readonly type: "cgroup" | "cgroup2";
  readonly options: string;
}

/** A group for a sandbox's containers. */
export interface Cgroup {
  /** Path below each hierarchy's root. */
  readonly path: string;
  /** Removes the group. No process may be left in it. */
  readonly remove: () => Promise<void>;
}

let made = 0;

/** Mounts the machine's cgroups in a sandbox, or returns why that is impossible. */
export async function mountCgroups(sandbox: Sandbox): Promise<Cgroup | string> {
  const all = hierarchies();
  if (all.length === 0) return `there are no cgroups in ${ROOT}`;
  const script = all.map(
    ({ path, type, options }) =>
      `mkdir -p ${path} && mount -n -t ${type} -o ${options} ${type} ${path}`,
  );
  const first = all[0]?.path === ROOT ? [] : [`mount -n -t tmpfs -o mode=755 cgroup ${ROOT}`];
  const { exitCode, stderr } = await sandbox.exec("sh", ["-ec", [...first, ...script].join("\n")]);
  if (exitCode !== 0) return `cgroups cannot be mounted: ${stderr.trim()}`;
  await sweep(all);
  const name = `flannel-cni-test-${process.pid}-${made++}`;
  return {
    path: `/${name}`,
    remove: async () => {
      for (const { path } of all) await removeTree(join(path, name));
    },
  };
}

/** The mounted hierarchies: version 2 only, or version 1's controllers. */
function hierarchies(): readonly Hierarchy[] {
  return mountsOf("self").flatMap(({ path, type, options }): Hierarchy[] => {
    if (type === "cgroup2" && path === ROOT) return [{ path, type, options: "rw" }];
    // Named hierarchies control nothing; a hybrid's second version is not needed.
    if (type !== "cgroup" || !path.startsWith(`${ROOT}/`) || options.includes("name=")) return [];
    return [{ path, type, options }];
  });
}

/** Removes the groups of killed runs. */
async function sweep(all: readonly Hierarchy[]): Promise<void> {
  for (const { path } of all) {
    for (const name of await readdir(path)) {
      const pid = Number(NAME.exec(name)?.[1]);
      // Where that number is of another PID namespace, the group may be in use.
      if (pid > 0 && !isAlive(pid)) await removeTree(join(path, name)).catch(() => undefined);
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Removes groups, the innermost first. The kernel's files in a group disappear with it. */
async function removeTree(path: string): Promise<void> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    for (const entry of entries.filter((candidate) => candidate.isDirectory())) {
      await removeTree(join(path, entry.name));
    }
    await rmdir(path);
  } catch (error) {
    // The group is not in every hierarchy, and may be going away already.
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
}

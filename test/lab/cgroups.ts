/**
 * Mounts the machine's cgroups in a sandbox, whose new /sys hides them. The sandbox's containers live
 * below one group, which is removed with everything in it.
 */
import { readdir, rmdir } from "node:fs/promises";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
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

/** A group with a memory limit. */
export interface MemoryGroup {
  /** The file to which who enters writes its PID. */
  readonly processes: string;
  readonly figures: () => MemoryFigures;
  readonly remove: () => Promise<void>;
}

/** What the kernel has counted in a group. */
export interface MemoryFigures {
  /** MiB of everything, the kernel's for what it has made included. */
  readonly all: number;
  /** MiB of files, which are dropped where room is needed. */
  readonly files: number;
  /** How often there was no room left. */
  readonly refusals: number;
  readonly majorFaults: number;
}

let made = 0;

/** The names of the groups that a process has made, as a pattern of find(1). */
export function groupsOf(pid: number): string {
  return `flannel-cni-test-${pid}-*`;
}

/** The machine's memory controller, or undefined where there is none that can be used. */
export function memoryController(): string | undefined {
  const first = join(ROOT, "memory");
  if (existsSync(join(first, "memory.limit_in_bytes"))) return first;
  const file = join(ROOT, "cgroup.subtree_control");
  const controllers = existsSync(file) ? readFileSync(file, "utf8").trim().split(" ") : [];
  return controllers.includes("memory") ? ROOT : undefined;
}

/** Makes a group of the memory controller. `limit` is in MiB. */
export async function limitMemory(controller: string, limit: number): Promise<MemoryGroup> {
  await sweep([{ path: controller }]);
  const path = join(controller, `flannel-cni-test-${process.pid}-${made++}`);
  const isFirst = controller !== ROOT;
  mkdirSync(path);
  const file = join(path, isFirst ? "memory.limit_in_bytes" : "memory.max");
  writeFileSync(file, String(limit * 2 ** 20));
  const read = (name: string, key: string): number => {
    const text = readFileSync(join(path, name), "utf8");
    return Number(new RegExp(`^${key}(\\d+)$`, "m").exec(text)?.[1]);
  };
  return {
    processes: join(path, "cgroup.procs"),
    figures: () => ({
      all: read(isFirst ? "memory.usage_in_bytes" : "memory.current", "") / 2 ** 20,
      files: read("memory.stat", isFirst ? "cache " : "file ") / 2 ** 20,
      refusals: isFirst ? read("memory.failcnt", "") : read("memory.events", "max "),
      majorFaults: read("memory.stat", "pgmajfault "),
    }),
    remove: async () => removeTree(path),
  };
}

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

/** A program in a sandbox that runs another one in the sandbox's own cgroups. */
export const CGROUP_ENTRY = "/run/cgroup-entry";

/**
 * Gives a sandbox cgroups of its own, which are the root of what it sees, or returns why that is
 * impossible. What is started by {@link CGROUP_ENTRY} is in them, and makes its groups in them.
 */
export async function createCgroupNamespace(sandbox: Sandbox): Promise<Cgroup | string> {
  // kubelet wants a hierarchy of each name.
  const all = [...hierarchies(), ...namedHierarchies()];
  if (all.length === 0) return `there are no cgroups in ${ROOT}`;
  await sweep(all);
  const name = `flannel-cni-test-${process.pid}-${made++}`;
  const remove = async () => {
    for (const { path } of all) await removeTree(join(path, name));
  };
  for (const { path } of all) {
    // Of version 1: else nothing can run in the groups made below.
    const clone = join(path, "cgroup.clone_children");
    mkdirSync(join(path, name, LEAF), { recursive: true });
    for (const group of [name, join(name, LEAF)]) {
      for (const file of ["cpuset.cpus", "cpuset.mems"]) {
        if (existsSync(clone) && existsSync(join(path, file))) {
          writeFileSync(join(path, group, file), readFileSync(join(path, file)));
        }
      }
    }
  }
  const joins = (group: string) =>
    all.map(({ path }) => `echo $$ > ${join(path, group, "cgroup.procs")}`).join("\n");
  const mounts = all.map(
    ({ path, type, options }) =>
      `mkdir -p ${path} && mount -n -t ${type} -o ${options} ${type} ${path}`,
  );
  const first = all[0]?.path === ROOT ? [] : [`mount -n -t tmpfs -o mode=755 cgroup ${ROOT}`];
  const entry = `#!/bin/sh
${joins(LEAF)}
exec nsenter --cgroup=${NAMESPACE} -- "$@"
`;
  // The groups are joined by their paths on the machine, before the sandbox has its own.
  const script = `
    ${[...first, ...mounts].join("\n")}
    ${joins(name)}
    touch ${NAMESPACE}
    unshare --cgroup sh -ec '
      mount -n --bind /proc/self/ns/cgroup ${NAMESPACE}
      ${all.map(({ path }) => `umount -n ${path}`).join("\n")}
      ${mounts.join("\n")}
      ${joins(LEAF)}
    '
  `;
  const { exitCode, stderr } = await sandbox.exec("sh", ["-ec", script]);
  if (exitCode !== 0) {
    await remove();
    return `cgroups cannot be mounted: ${stderr.trim()}`;
  }
  await sandbox.writeFile(CGROUP_ENTRY, entry, 0o755);
  return { path: `/${name}`, remove };
}

/** Where a sandbox's own processes are: a group of version 2 with groups below it has none. */
const LEAF = "system";

const NAMESPACE = "/run/cgroup-namespace";

/** The mounted hierarchies: version 2 only, or version 1's controllers. */
function hierarchies(): readonly Hierarchy[] {
  return mountsOf("self").flatMap(({ path, type, options }): Hierarchy[] => {
    if (type === "cgroup2" && path === ROOT) return [{ path, type, options: "rw" }];
    // Named hierarchies control nothing; a hybrid's second version is not needed.
    if (type !== "cgroup" || !path.startsWith(`${ROOT}/`) || options.includes("name=")) return [];
    return [{ path, type, options }];
  });
}

/** The named hierarchies of version 1, which control nothing. */
function namedHierarchies(): readonly Hierarchy[] {
  return mountsOf("self").flatMap(({ path, type, options }): Hierarchy[] => {
    const name = options.split(",").find((option) => option.startsWith("name="));
    if (type !== "cgroup" || !path.startsWith(`${ROOT}/`) || name === undefined) return [];
    return [{ path, type, options: `none,${name}` }];
  });
}

/** Removes the groups of killed runs. */
async function sweep(all: readonly Pick<Hierarchy, "path">[]): Promise<void> {
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

/** What clusters and their builds need of a machine. */
import { accessSync, constants, existsSync, readFileSync, statfsSync } from "node:fs";
import { availableParallelism, freemem } from "node:os";
import { dirname } from "node:path";

/** What a machine has of it. */
export interface Machine {
  readonly isRoot: boolean;
  readonly processors: number;
  /** Memory that can be had now, within the cgroup's limit. */
  readonly memoryMib: number;
  /** Room where the clusters' nodes and Go's caches are. */
  readonly diskMib: number;
  /** /dev/kmsg, without which kubelet does not start. */
  readonly hasKernelLog: boolean;
  /** Controllers of cgroups that groups can be made of. */
  readonly controllers: readonly string[];
}

/** Those that kubelet refuses to be without. */
const controllersNeeded = ["cpu", "cpuset", "memory", "pids"];

/** Measured: 1.3 GB for a cluster of two nodes with a build's page cache; kube-apiserver's linker takes 2 GB. */
const memoryNeeded = { run: 3000, build: 4000 };

/** Measured: 1.5 GB for three nodes' images; 8 GB for Go's caches and the programs. */
const diskNeeded = { run: 3000, build: 9000 };

/** What a machine lacks for clusters, in words; undefined if it lacks nothing. */
export function lackOf(machine: Machine, isToBuild: boolean): string | undefined {
  const purpose = isToBuild ? "build" : "run";
  const { isRoot, processors, memoryMib, diskMib, hasKernelLog, controllers } = machine;
  if (!isRoot) return "clusters need root";
  if (processors < 2) return tooLittle("2 processors", String(processors));
  if (memoryMib < memoryNeeded[purpose]) {
    return tooLittle(`${memoryNeeded[purpose]} MiB of free memory`, String(memoryMib));
  }
  if (diskMib < diskNeeded[purpose]) {
    return tooLittle(`${diskNeeded[purpose]} MiB of free disk space`, String(diskMib));
  }
  if (!hasKernelLog) return "kubelet needs /dev/kmsg, which cannot be read here";
  const missing = controllersNeeded.filter((name) => !controllers.includes(name));
  return missing.length > 0
    ? `kubelet needs the cgroup controllers ${missing.join(", ")}, which are not to be had here`
    : undefined;
}

function tooLittle(needed: string, got: string): string {
  return `clusters need ${needed} (got ${got})`;
}

/** What this machine has. `folders` are those that are to be written to. */
export function thisMachine(folders: readonly string[]): Machine {
  return {
    isRoot: process.getuid?.() === 0,
    processors: availableParallelism(),
    memoryMib: Math.floor(Math.min(freemem(), process.constrainedMemory()) / 2 ** 20),
    diskMib: Math.min(...folders.map(roomAt)),
    hasKernelLog: may("R_OK", "/dev/kmsg"),
    controllers: usableControllers(),
  };
}

/** MiB of free space where a folder is, or will be. */
function roomAt(folder: string): number {
  if (!existsSync(folder)) return roomAt(dirname(folder));
  const { bavail, bsize } = statfsSync(folder);
  return Math.floor((bavail * bsize) / 2 ** 20);
}

function may(access: "R_OK" | "W_OK", path: string): boolean {
  try {
    accessSync(path, constants[access]);
    return true;
  } catch {
    return false;
  }
}

const cgroups = "/sys/fs/cgroup";

/** Controllers of version 2 that groups have, or mounted hierarchies of version 1 that can be written to. */
function usableControllers(): readonly string[] {
  const second = `${cgroups}/cgroup.subtree_control`;
  if (may("R_OK", second)) return readFileSync(second, "utf8").trim().split(" ");
  return controllersNeeded.filter((name) => may("W_OK", `${cgroups}/${name}`));
}

import { readlinkSync } from "node:fs";
import { listIfPresent } from "../../../shared/files/files.ts";
import { readIfPresent } from "../../../shared/files/read_file.ts";
import { ownNetns } from "../../../shared/files/paths.ts";

const program = "flanneld";

/** What a process of that name may be besides the daemon. */
const commands: ReadonlySet<string | undefined> = new Set(["status", "check", "cleanup"]);

/**
 * The processes of this network namespace that are a flanneld, of whatever version: by the name of
 * the executable, or the name that it was called by.
 */
export function runningFlannelds(): number[] {
  const own = linkOf(ownNetns);
  return listIfPresent("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => isFlanneld(`/proc/${pid}`) && linkOf(`/proc/${pid}/ns/net`) === own)
    .map(Number);
}

function isFlanneld(folder: string): boolean {
  const words = argumentsOf(`${folder}/cmdline`);
  // An executable that was replaced has " (deleted)" after its name.
  const executable = linkOf(`${folder}/exe`)?.replace(/ \(deleted\)$/, "");
  const isNamedSo = [executable, words[0]].some((path) => baseName(path ?? "") === program);
  return isNamedSo && !words.slice(1).some((word) => commands.has(word));
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function argumentsOf(path: string): string[] {
  try {
    return readIfPresent(path)?.split("\0") ?? [];
  } catch {
    // It has ended.
    return [];
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    // It has ended, or is the kernel's own.
    return undefined;
  }
}

/** The mounts that a process sees. */
import { readFileSync } from "node:fs";

export interface Mount {
  readonly id: string;
  readonly path: string;
  readonly type: string;
  readonly source: string;
  /** The file system's own options, such as a cgroup's controllers. */
  readonly options: string;
}

/** Reads /proc/PID/mountinfo (proc_pid_mountinfo(5)). */
export function mountsOf(pid: number | "self"): readonly Mount[] {
  const lines = readFileSync(`/proc/${pid}/mountinfo`, "utf8").trim().split("\n");
  return lines.map((line) => {
    const [place = "", kind = ""] = line.split(" - ");
    const [id = "", , , , path = ""] = place.split(" ");
    const [type = "", source = "", options = ""] = kind.split(" ");
    return { id, path: unescape(path), type, source, options };
  });
}

/** A space or another special character stands there as its octal number. */
function unescape(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCodePoint(Number.parseInt(octal, 8)),
  );
}

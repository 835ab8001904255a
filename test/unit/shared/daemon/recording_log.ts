import type { Log } from "../../../../shared/daemon/log.ts";

/** A log, and its lines with their level before them. */
export function recordingLog(): { readonly log: Log; readonly lines: string[] } {
  const lines: string[] = [];
  const at = (level: string) => (text: string) => {
    lines.push(`${level} ${text}`);
  };
  return { log: { info: at("I"), warn: at("W"), error: at("E"), debug: at("D") }, lines };
}

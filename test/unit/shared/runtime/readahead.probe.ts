/** Prints the flags and the largest part of the executable's mappings, after the advice and after a shrink. */
import { readFileSync, readlinkSync } from "node:fs";
import { sys } from "../../../../shared/runtime/sys_bun.ts";

function executable() {
  const path = readlinkSync("/proc/self/exe");
  const mappings = readFileSync("/proc/self/smaps", "utf8")
    .split(/^(?=[\da-f]+-)/m)
    .filter((text) => text.slice(0, text.indexOf("\n")).endsWith(` ${path}`));
  const code = mappings.filter((text) => /^\S+ r.x/.test(text));
  const kilobytes = code.map((text) => Number(/^Size: +(\d+) kB/m.exec(text)?.[1]));
  return {
    random: mappings.every((text) => /^VmFlags:.* rr/m.test(text)),
    largest: Math.max(...kilobytes),
    code: kilobytes.reduce((sum, size) => sum + size, 0),
  };
}

const before = executable();
sys.limitReadahead();
const limited = executable();
sys.shrink();
console.log(JSON.stringify({ before, limited, shrunk: executable() }));

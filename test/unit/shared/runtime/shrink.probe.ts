/** Prints MiB of the executable that are mapped before and after a shrink, and that all goes on after it. */
import { readFileSync } from "node:fs";
import { sys } from "../../../../shared/runtime/sys_bun.ts";

function executableMiB(): number {
  const text = readFileSync("/proc/self/status", "utf8");
  return Number(/RssFile:\s+(\d+)/.exec(text)?.[1]) / 1024;
}

const before = executableMiB();
sys.shrink();
const after = executableMiB();
const made = Array.from({ length: 1000 }, (_, number) => ({ text: `number ${number}` }));
sys.collectYoung();
const { stdout } = await sys.start("echo", [String(made.length)], {
  ...{ input: "", env: { PATH: process.env["PATH"] ?? "" }, timeout: 5000, maxOutput: 100 },
});
console.log(JSON.stringify({ before, after, stdout }));

/** Prints what comes of waiting for a lock in the kernel's queue: flock.probe.ts MODULE FILE */
import { openSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Sys } from "../../../../shared/runtime/sys.ts";

const [, , module = "", file = ""] = process.argv;
const { sys } = (await import(module)) as { readonly sys: Sys };
const LOCK_EX = 2;
const [first, second] = [openSync(file, "r+"), openSync(file, "r+")];
const signals: string[] = [];
process.on("SIGALRM", () => signals.push("SIGALRM"));
const free = sys.flockWithin(first, LOCK_EX, 1000);
const began = performance.now();
const answers = [0, 1, 300].map((milliseconds) => sys.flockWithin(second, LOCK_EX, milliseconds));
const waited = performance.now() - began;
// The handler is the process's own again, and no timer is left.
await delay(100);
const unasked = signals.length;
process.kill(process.pid, "SIGALRM");
await delay(100);
console.log(
  JSON.stringify({ free, answers, inTime: waited > 299 && waited < 20_000, unasked, signals }),
);
process.exit();

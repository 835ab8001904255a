/** Closes locked files later, and prints when others could lock them: at once, and within a second. */
import { closeSync, openSync } from "node:fs";
import { setTimeout } from "node:timers/promises";

import type { Sys } from "../../../../shared/runtime/sys.ts";

const [, , module = "", path = ""] = process.argv;
const { sys } = (await import(module)) as { readonly sys: Sys };
const LOCK_EX_NB = 2 | 4;

function lock(): number {
  const fd = openSync(path, "w");
  const done = sys.flock(fd, LOCK_EX_NB);
  if (done === 0) return fd;
  closeSync(fd);
  return done;
}

async function isFreeSoon(): Promise<boolean> {
  for (let left = 100; left > 0; left--) {
    const fd = lock();
    if (fd >= 0) {
      closeSync(fd);
      return true;
    }
    await setTimeout(10);
  }
  return false;
}

const results: boolean[] = [];
for (let round = 0; round < 3; round++) {
  const fd = lock();
  const isHeld = lock() < 0;
  sys.closeLater(fd);
  results.push(isHeld && (await isFreeSoon()));
}
// Descriptors are not used up: the next one has the number of the first.
const [first, second] = [openSync(path, "r"), openSync(path, "r")];
console.log(JSON.stringify({ results, isNext: second === first + 1 }));

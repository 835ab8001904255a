/** What a process has of its own: `own` of globalThis. */
import { hostRegisters } from "../../../../shared/runtime/globals_quickjs.ts";

Object.assign(globalThis, {
  hostRegisters,
  own: () => {
    const randoms = Array.from({ length: 100 }, Math.random);
    const { pid } = process;
    return JSON.stringify({ randoms, pid, euid: process.geteuid?.(), now: performance.now() });
  },
});

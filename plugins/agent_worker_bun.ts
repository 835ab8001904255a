import { startWorker } from "../shared/agent/worker_start.ts";
import { sendAside } from "../shared/runtime/aside_bun.ts";
import { sys } from "../shared/runtime/sys_bun.ts";
import { rawCalls } from "../shared/runtime/system_calls_bun.ts";
import { builtins } from "./builtins.ts";

/**
 * The engine compiles as soon as it does by default, and not 50 times later as for a plugin's start. Without its
 * last compiler (shared/agent/engine.ts) that takes a tenth more memory.
 */
const jitPolicy = 1;

/** The entry of the agent's thread that makes the calls. */
Bun.unsafe.setJITPolicy(jitPolicy);
void startWorker({
  sys,
  rawCalls,
  sendAside,
  collect: () => {
    Bun.gc(true);
  },
  builtins,
});

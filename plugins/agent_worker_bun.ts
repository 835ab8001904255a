import { startWorker } from "../shared/agent/worker_start.ts";
import { sendAside } from "../shared/runtime/aside_bun.ts";
import { sys } from "../shared/runtime/sys_bun.ts";
import { rawCalls } from "../shared/runtime/system_calls_bun.ts";
import { builtins } from "./builtins.ts";

/**
 * How much later than usual the engine compiles, as for a plugin's start. At 10 it keeps 50 MB after 20,000
 * calls, and saves nothing that can be measured, since most of a call is the kernel's.
 */
const jitPolicy = 50;

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

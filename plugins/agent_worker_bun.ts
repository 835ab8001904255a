import { startWorker } from "../shared/agent/worker_start.ts";
import { sendAside } from "../shared/runtime/aside_bun.ts";
import { sys } from "../shared/runtime/sys_bun.ts";
import { rawCalls } from "../shared/runtime/system_calls_bun.ts";
import { builtins } from "./builtins.ts";

/**
 * How much later than usual the engine compiles: at 1 it takes 5 MB more and saves nothing that can be
 * measured, since most of a call is the kernel's; at 50, as for a plugin's start, a call takes more.
 */
const jitPolicy = 10;

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

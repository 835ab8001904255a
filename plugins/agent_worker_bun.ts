import { startWorker } from "../shared/agent/worker_start.ts";
import { sendAside } from "../shared/runtime/aside_bun.ts";
import { sys } from "../shared/runtime/sys_bun.ts";
import { rawCalls } from "../shared/runtime/system_calls_bun.ts";
import { builtins } from "./builtins.ts";

/** The entry of the agent's thread that makes the calls. */
void startWorker(sys, rawCalls, sendAside, builtins);

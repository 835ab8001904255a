import { statSync } from "node:fs";
import type { Handler } from "../cni/handler.ts";
import { createLog } from "../daemon/log.ts";
import { ownNetns } from "../files/paths.ts";
import type { SendAside } from "../netlink/removal.ts";
import { SystemCalls } from "../runtime/system_calls.ts";
import type { RawCalls } from "../runtime/system_calls.ts";
import type { Sys } from "../runtime/sys.ts";
import { buildId } from "./build_id.ts";
import { writeIfRead } from "./call.ts";
import { AgentWorker } from "./worker.ts";

/** What the main thread passes to the worker: as JSON, in its only argument. */
export interface WorkerStart {
  readonly listener: number;
  readonly ending: number;
  readonly dataFolders: readonly string[];
}

/** What the worker's thread has of its runtime, and the plugins. */
interface WorkerRuntime {
  readonly sys: Sys;
  readonly rawCalls: RawCalls;
  readonly sendAside: SendAside;
  readonly collect: () => void;
  readonly builtins: readonly Handler[];
}

/** The agent's stderr. */
const stderr = 2;

/** Runs the worker's thread to its end. */
export async function startWorker({
  sys,
  rawCalls,
  sendAside,
  collect,
  builtins,
}: WorkerRuntime): Promise<void> {
  const { listener, ending, dataFolders } = JSON.parse(sys.args[0] ?? "") as WorkerStart;
  const system = new SystemCalls(rawCalls);
  const log = createLog(
    (line) => {
      writeIfRead(system, stderr, line);
    },
    "flannel-agent",
    0,
  );
  const worker = new AgentWorker({
    sys,
    system,
    sendAside,
    collect,
    builtins,
    listener,
    ending,
    terms: {
      buildId,
      plugins: new Set(builtins.map(({ name }) => name)),
      dataFolders,
      env: sys.env,
      ownNetns: statSync(ownNetns).ino,
    },
    log: log.info,
  });
  await worker.run();
  sys.exit(0);
}

import { rawCalls } from "./system_calls_bun.ts";
import type { ThreadEnd, Threads, ThreadScript } from "./threads.ts";

/** Each by its name, which the compiler looks for. */
const open: Readonly<Record<ThreadScript, (options: WorkerOptions) => Worker>> = {
  agent_worker: (options) => new Worker("./agent_worker.cjs", options),
  agent_helper: (options) => new Worker("./agent_helper.cjs", options),
  udp_forwarder: (options) => new Worker("./udp_forwarder.cjs", options),
};

/** {@link Threads} on Bun. Its compiler takes the scripts in (scripts/build/bundle.ts). */
export const threads: Threads = {
  rawCalls,
  start(script, args) {
    const options = { argv: [...args] };
    return { ended: endOf(open[script](options)) };
  },
};

async function endOf(worker: Worker): Promise<ThreadEnd> {
  let problem: string | undefined;
  return new Promise((resolve) => {
    worker.addEventListener("error", (event) => {
      // The message quotes the script, which is one long line.
      problem ??= event.message.split("\n").find((line) => /^\w*Error|^[A-Z]+:/.test(line));
      problem ??= event.message.slice(0, 200);
    });
    worker.addEventListener("close", (event) => {
      resolve({ code: event.code, problem });
    });
  });
}

import { rawCalls } from "./system_calls_bun.ts";
import type { ThreadEnd, Threads } from "./threads.ts";

/** {@link Threads} on Bun. Its compiler takes the scripts in (scripts/build/bundle.ts). */
export const threads: Threads = {
  rawCalls,
  start(script, args) {
    const options = { argv: [...args] };
    const worker =
      script === "agent_worker"
        ? new Worker("./agent_worker.cjs", options)
        : new Worker("./agent_helper.cjs", options);
    return { ended: endOf(worker) };
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

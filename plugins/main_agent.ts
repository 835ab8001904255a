/** The agent's main thread, which loads no plugin. Its other thread begins with agent_worker_bun.ts. */
export { agent } from "../tools/agent/main.ts";

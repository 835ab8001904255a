/** The agent beside the plugins that are measured, and the processor's time that it takes. */
import { existsSync, openSync, readdirSync, readFileSync } from "node:fs";

import { agentSocket } from "../../shared/files/paths.ts";
import { sleep } from "../../shared/files/lock.ts";
import { spawn } from "./spawn.ts";

/** Milliseconds until it must take calls. */
const startTimeout = 5000;

export class Agent {
  readonly #pid: number;
  #counted = 0;

  private constructor(pid: number) {
    this.#pid = pid;
  }

  /** Starts it. @param file the executable that it is a tool of. */
  static start(file: string): Agent {
    const nothing = openSync("/dev/null", "r+");
    const env = { PATH: process.env["PATH"] ?? "", XTABLES_LOCKFILE: "/run/xtables.lock" };
    const agent = new Agent(spawn(file, ["agent"], env, nothing, nothing));
    const end = performance.now() + startTimeout;
    while (!existsSync(agentSocket)) {
      if (performance.now() > end) throw new Error(`${file} agent made no socket`);
      sleep(5);
    }
    return agent;
  }

  /** Milliseconds of processor time that all its threads took since the last time. */
  takeCpu(): number {
    const folder = `/proc/${String(this.#pid)}/task`;
    const total = readdirSync(folder).reduce((sum, thread) => {
      const [running = ""] = readFileSync(`${folder}/${thread}/schedstat`, "utf8").split(" ");
      return sum + Number(running) / 1e6;
    }, 0);
    const taken = total - this.#counted;
    this.#counted = total;
    return taken;
  }

  stop(): void {
    process.kill(this.#pid);
  }
}

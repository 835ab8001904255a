/** The agent beside the plugins that are measured, and the processor's time that it takes. */
import { existsSync, openSync } from "node:fs";

import { agentSocket } from "../../shared/files/paths.ts";
import { sleep } from "../../shared/runtime/sleep.ts";
import { cpuTimeOf, spawn } from "./spawn.ts";

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
    const agent = new Agent(spawn(file, ["agent"], env, nothing, nothing, nothing));
    const end = performance.now() + startTimeout;
    while (!existsSync(agentSocket)) {
      if (performance.now() > end) throw new Error(`${file} agent made no socket`);
      sleep(5);
    }
    return agent;
  }

  /** Milliseconds of processor time that it took since the last time. */
  takeCpu(): number {
    const total = cpuTimeOf(this.#pid);
    const taken = total - this.#counted;
    this.#counted = total;
    return taken;
  }

  stop(): void {
    process.kill(this.#pid);
  }
}

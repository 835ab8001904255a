import { closeSync, constants, openSync } from "node:fs";
import { Failure } from "../base/failure.ts";
import type { Request } from "../cni/request.ts";
import { tryFor } from "../files/lock_wait.ts";
import { tryMember } from "../files/member_lock.ts";
import { agentLock } from "../files/paths.ts";
import type { Sys } from "../runtime/sys.ts";
import type { AgentRequest } from "./protocol.ts";

/**
 * Which container the agent is at work for, told by a lock in its own file. A runtime that gives a call up ends the
 * client, and not the agent, which undoes an ADD that nobody takes: what a plugin had made for the same
 * container meanwhile would go as well.
 */

/** Milliseconds for the agent to end a call. It takes 10; what is over 100 seconds, the kernel ends. */
const callPatience = 10_000;
/** Milliseconds for the agent to lock what plugins only look at. */
const lookPatience = 100;

/** The lock's member for a container. */
function memberOf(sys: Sys, containerId: string): number {
  return Number.parseInt(sys.sha512(containerId).slice(0, 8), 16);
}

function isChange(verb: string | undefined): boolean {
  return verb === "ADD" || verb === "DEL";
}

/** The agent's side. It belongs to the process that has the agent's lock. */
export class CurrentCall {
  readonly #sys: Sys;
  readonly #fd = openSync(agentLock, "r+");

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /** Makes plugins wait that are called for the same container. */
  begin({ env }: AgentRequest): void {
    const verb = env["CNI_COMMAND"];
    if (!isChange(verb) && verb !== "GC") return;
    // GC may change what any container has.
    const member = verb === "GC" ? "all" : memberOf(this.#sys, env["CNI_CONTAINERID"] ?? "");
    tryFor(lookPatience, () => tryMember(this.#sys, this.#fd, agentLock, member, "write"));
  }

  end(): void {
    tryMember(this.#sys, this.#fd, agentLock, "all", "none");
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/**
 * Waits until no agent is at work for the container of a plugin's call.
 * @throws Failure busy
 */
export function awaitAgent(sys: Sys, { verb, containerId }: Request): void {
  const fd = isChange(verb) ? openLock() : undefined;
  if (fd === undefined) return;
  const member = memberOf(sys, containerId);
  try {
    if (tryFor(callPatience, () => tryMember(sys, fd, agentLock, member, "read"))) return;
  } finally {
    closeSync(fd);
  }
  throw new Failure(
    "busy",
    `Cannot begin: the agent must end an earlier call for the container first (it has been at it for ${callPatience / 1000} seconds).`,
    "If the agent is stopped, continue it or end it.",
  );
}

/** @returns undefined where no agent has ever run, or nobody can tell. */
function openLock(): number | undefined {
  try {
    return openSync(agentLock, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}

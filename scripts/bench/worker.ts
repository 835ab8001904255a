/**
 * Runs plugins in a sandbox, each in a process of its own. protocol.ts has the messages.
 *
 *   worker.ts [EXECUTABLE]    an executable to start as the agent
 */
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { Agent } from "./agent.ts";
import { serve } from "./protocol.ts";
import type { Call, Cost, Reply, Request } from "./protocol.ts";
import { spawn, waitForAny, watchMemory } from "./spawn.ts";
import type { Ended } from "./spawn.ts";

/** In the sandbox's memory. */
const folder = "/run/bench";
mkdirSync(folder, { recursive: true });
const [, , agentFile] = process.argv;
const agent = agentFile === undefined ? undefined : Agent.start(agentFile);
await serve(createInterface({ input: process.stdin }), carryOut);
agent?.stop();

interface Running {
  readonly file: string;
  readonly lane: number;
  readonly started: number;
  readonly at: number;
}

function carryOut(request: Request): Reply {
  const running = new Map<number, Running>();
  try {
    return makeCalls(request, running);
  } finally {
    // Where one has failed. They have this process's stderr, and whoever reads it would wait for them.
    for (const pid of running.keys()) process.kill(pid, "SIGKILL");
    while (running.size > 0) running.delete(waitForAny().pid);
  }
}

/** @param running has the calls that have not ended. */
function makeCalls({ lanes, memory }: Request, running: Map<number, Running>): Reply {
  const costs: Cost[][] = lanes.map(() => []);
  const results: unknown[] = lanes.map(() => undefined);
  const begin = (lane: number, at: number): void => {
    const call = lanes[lane]?.[at];
    if (call !== undefined) running.set(...start(call, lane, at, results[lane]));
  };
  const started = performance.now();
  for (const lane of lanes.keys()) begin(lane, 0);
  while (running.size > 0) {
    const { ended, rss } = awaitOne(running, memory);
    const call = running.get(ended.pid);
    if (call === undefined) continue;
    running.delete(ended.pid);
    if (isToTryAgain(call.lane, ended)) {
      begin(call.lane, call.at);
      continue;
    }
    const wall = performance.now() - call.started;
    // Of calls at once, the agent's time is not told apart.
    const user = ended.user + (agent?.takeCpu() ?? 0);
    costs[call.lane]?.push({ wall, user, system: ended.system, rss });
    results[call.lane] = resultOf(call.lane, ended, lanes[call.lane]?.[call.at]);
    begin(call.lane, call.at + 1);
  }
  return { wall: performance.now() - started, lanes: costs, results };
}

function start(call: Call, lane: number, at: number, before: unknown): [number, Running] {
  const conf = call.takesResult ? { ...call.conf, prevResult: before } : call.conf;
  writeFileSync(`${folder}/in${String(lane)}`, JSON.stringify(conf));
  const stdin = openSync(`${folder}/in${String(lane)}`, "r");
  const stdout = openSync(`${folder}/out${String(lane)}`, "w");
  const started = performance.now();
  const pid = spawn(call.file, call.args ?? [], call.env, stdin, stdout);
  closeSync(stdin);
  closeSync(stdout);
  return [pid, { lane, started, at, file: call.file }];
}

function awaitOne(
  running: ReadonlyMap<number, Running>,
  memory: boolean,
): { ended: Ended; rss: number } {
  if (!memory) return { ended: waitForAny(), rss: 0 };
  const [[pid, { file }] = [0, { file: "" }]] = running;
  return watchMemory(pid, file);
}

/** Whether a call asks to be made again later, as a runtime then does: code 11. */
function isToTryAgain(lane: number, { status }: Ended): boolean {
  return status !== 0 && /"code": 11\b/.test(readFileSync(`${folder}/out${String(lane)}`, "utf8"));
}

function resultOf(lane: number, ended: Ended, call: Call | undefined): unknown {
  const text = readFileSync(`${folder}/out${String(lane)}`, "utf8");
  if (ended.status !== 0) {
    throw new Error(`${call?.file ?? ""} ${call?.env["CNI_COMMAND"] ?? ""} failed: ${text.trim()}`);
  }
  return text.trim() === "" ? undefined : (JSON.parse(text) as unknown);
}

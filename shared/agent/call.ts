import { writeSync } from "node:fs";
import type { Handler } from "../cni/handler.ts";
import { dispatch } from "../cni/skel.ts";
import type { FirewallOptions } from "../firewall/firewall.ts";
import type { NodeOptions } from "../node/node.ts";
import type { SystemCalls } from "../runtime/system_calls.ts";
import type { Sys } from "../runtime/sys.ts";
import { isWritable } from "./connection.ts";
import type { Connection } from "./connection.ts";
import { encodeAnswer, Word } from "./protocol.ts";
import type { AgentRequest } from "./protocol.ts";

/** Bytes that a pipe takes at once if it takes any (PIPE_BUF). */
const pieceBytes = 4096;
/** Milliseconds for a reader of stderr. What it does not take by then is not said. */
const stderrTimeout = 100;

/** Milliseconds for a lock. A plugin waits 10 seconds for one, without others behind it. */
const lockTimeout = 300;

/** What the agent makes its calls with. */
export interface Workshop {
  readonly sys: Sys;
  readonly system: SystemCalls;
  readonly builtins: readonly Handler[];
  readonly node: NodeOptions;
  readonly firewall: FirewallOptions;
}

/** How a call has ended. */
export interface Outcome {
  /** The exit status; undefined where the client was told to do it itself. */
  readonly code: number | undefined;
  /** Why it does it itself. */
  readonly declined?: string;
}

/** What throws in the place of what the agent does not do. By then nothing is changed, or it is undone. */
class Declined extends Error {}

/** Makes a call that has begun, and answers it. */
export async function makeCall(
  workshop: Workshop,
  connection: Connection,
  request: AgentRequest,
): Promise<Outcome> {
  let declined: string | undefined;
  const decline = (why: string) => (): never => {
    declined ??= why;
    throw new Declined(why);
  };
  const answer = (code: number, stdout: string): void => {
    // DEL and the like are made again from their start, and an ADD is undone.
    if (declined !== undefined) connection.send(Buffer.of(Word.decline));
    else connection.send(encodeAnswer({ code, stdout }));
  };
  const { netns } = connection;
  const path = request.env["CNI_NETNS"] ?? "";
  const code = await dispatch(viewOf(workshop, connection, request), workshop.builtins, answer, {
    node: {
      ...workshop.node,
      ...(netns === undefined ? {} : { netns: { path, fd: netns } }),
      patience: { milliseconds: lockTimeout, giveUp: decline("another process holds a lock") },
    },
    firewall: { ...workshop.firewall, refuseLegacy: decline("the node uses iptables-legacy") },
    refuseDelegate: decline("it delegates to a plugin that is not built in"),
  });
  return declined === undefined ? { code } : { code: undefined, declined };
}

/** The runtime as the call sees it: the client's name, environment, stdin and stderr. */
function viewOf(
  { sys, system }: Workshop,
  { stderr }: Connection,
  { name, env, stdin }: AgentRequest,
): Sys {
  return {
    ...sys,
    argv0: name,
    args: [],
    env,
    readStdin: () => Buffer.from(stdin).toString(),
    write: (_fd, text) => {
      if (stderr !== undefined) writeIfRead(system, stderr, text);
    },
  };
}

/** Writes a text for which nobody waits, as far as its reader takes it in time. */
export function writeIfRead(system: SystemCalls, fd: number, text: string): void {
  const bytes = Buffer.from(text);
  try {
    for (let at = 0; at < bytes.length; ) {
      if (!isWritable(system, fd, stderrTimeout)) return;
      at += writeSync(fd, bytes.subarray(at, at + pieceBytes), 0);
    }
  } catch {
    // The reader is gone, or the disk is full.
  }
}

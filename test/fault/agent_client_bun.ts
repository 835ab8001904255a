/**
 * A client of the agent that does as it is told, byte by byte: it answers each line of JSON on stdin
 * with one on stdout (see {@link Move}). It runs with Bun, in the sandbox.
 */
import { closeSync, openSync } from "node:fs";
import { createInterface } from "node:readline";
import { encodeRequest } from "../../shared/agent/protocol.ts";
import { agentSocket } from "../../shared/files/paths.ts";
import { sys } from "../../shared/runtime/sys_bun.ts";
import { POLLIN, SystemCalls } from "../../shared/runtime/system_calls.ts";
import { rawCalls } from "../../shared/runtime/system_calls_bun.ts";

/** What the client is told to do. A connection has a number that the test chooses. */
export type Move =
  /** Connects. The answer is "open", or "none" where nobody listens. */
  | { readonly do: "open"; readonly at: number }
  /** Sends a request, or the part of it from..to, with descriptors of files. */
  | {
      readonly do: "ask";
      readonly at: number;
      readonly call: AgentCall;
      readonly from?: number;
      readonly to?: number;
    }
  /** Sends a request byte by byte. */
  | { readonly do: "trickle"; readonly at: number; readonly call: AgentCall }
  /** Sends bytes in base64. */
  | {
      readonly do: "send";
      readonly at: number;
      readonly bytes: string;
      readonly pass?: readonly string[];
    }
  /** Reads what comes, until there are `most` bytes, the end, or nothing for a while. */
  | { readonly do: "read"; readonly at: number; readonly most: number; readonly wait?: number }
  | { readonly do: "close"; readonly at: number }
  /** Makes a whole call, and answers with a {@link CallAnswer}. */
  | { readonly do: "call"; readonly call: AgentCall }
  /** Makes whole calls, one after the other, and answers with the {@link Repetition}. */
  | { readonly do: "repeat"; readonly calls: readonly AgentCall[]; readonly times: number };

export interface AgentCall {
  readonly buildId: string;
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  readonly conf: string;
  /** Paths whose descriptors go with it; by default stderr's, and the one in CNI_NETNS. */
  readonly pass?: readonly string[];
}

export interface CallAnswer {
  /** The words that came, such as "OBR", or "D". */
  readonly words: string;
  readonly code?: number;
  readonly stdout?: string;
  readonly ms: number;
}

export interface Repetition {
  /** Answers other than success. */
  readonly failures: readonly CallAnswer[];
  /** The median of each call, in milliseconds. */
  readonly medians: readonly number[];
}

const [AF_UNIX, SOCK_STREAM, SOL_SOCKET, SCM_RIGHTS, MSG_NOSIGNAL] = [1, 1, 1, 1, 0x4000];
const SYS_sendmsg = process.arch === "x64" ? 46 : 211;
const stderr = "/proc/self/fd/2";
const system = new SystemCalls(rawCalls);
const sockets = new Map<number, number>();
const callConnection = -1;
/** Milliseconds to wait for what has to come. A real client makes its call itself much sooner. */
const patience = 20_000;

console.log("ready");
for await (const line of createInterface(process.stdin)) {
  console.log(JSON.stringify(carryOut(JSON.parse(line) as Move)));
}

function carryOut(move: Move): unknown {
  switch (move.do) {
    case "open":
      return open(move.at);
    case "ask": {
      const { call, from = 0, to } = move;
      return send(move.at, bytesOf(call).subarray(from, to), from === 0 ? passedBy(call) : []);
    }
    case "trickle": {
      const { call } = move;
      const sent = Array.from(bytesOf(call), (byte, place) =>
        send(move.at, Buffer.of(byte), place === 0 ? passedBy(call) : []),
      );
      return sent.every((word) => word === "sent") ? "sent" : "refused";
    }
    case "send":
      return send(move.at, Buffer.from(move.bytes, "base64"), move.pass ?? []);
    case "read":
      return read(move.at, move.most, move.wait ?? patience).toString("latin1");
    case "close":
      closeSync(socketAt(move.at));
      return "closed";
    case "call":
      return makeCall(move.call);
    case "repeat":
      return repeat(move.calls, move.times);
  }
}

function makeCall(call: AgentCall): CallAnswer {
  const begin = performance.now();
  const answered = (words: string): CallAnswer => ({ words, ms: performance.now() - begin });
  if (open(callConnection) !== "open") return answered("");
  try {
    send(callConnection, bytesOf(call), passedBy(call));
    const offer = read(callConnection, 1, patience).toString();
    if (offer !== "O") return answered(offer);
    send(callConnection, Buffer.from("A"), []);
    const header = read(callConnection, 7, 100_000);
    const words = offer + header.toString("latin1", 0, 2);
    if (words !== "OBR") return answered(words);
    const stdout = read(callConnection, header.readUInt32LE(3), patience).toString();
    return { ...answered(words), code: header[2] ?? 1, stdout };
  } finally {
    closeSync(socketAt(callConnection));
  }
}

function repeat(calls: readonly AgentCall[], times: number): Repetition {
  const failures: CallAnswer[] = [];
  const took = calls.map((): number[] => []);
  for (let round = 0; round < times; round++) {
    for (const [at, call] of calls.entries()) {
      const answer = makeCall(call);
      if (answer.code !== 0) failures.push(answer);
      took[at]?.push(answer.ms);
    }
  }
  const medians = took.map((list) => list.toSorted((a, b) => a - b)[list.length >> 1] ?? 0);
  return { failures: failures.slice(0, 10), medians };
}

function bytesOf({ buildId, name, env, conf }: AgentCall): Buffer {
  const bytes = encodeRequest({ buildId, name, env, stdin: Buffer.from(conf) });
  if (bytes === undefined) throw new Error("the request is too long");
  return Buffer.from(bytes);
}

function passedBy({ env, pass }: AgentCall): readonly string[] {
  const netns = env["CNI_NETNS"] ?? "";
  return pass ?? (netns === "" ? [stderr] : [stderr, netns]);
}

function socketAt(at: number): number {
  return sockets.get(at) ?? -1;
}

function open(at: number): string {
  const fd = sys.socket(AF_UNIX, SOCK_STREAM, 0);
  const path = Buffer.from(agentSocket);
  const address = Buffer.concat([Buffer.of(AF_UNIX, 0), path, Buffer.of(0)]);
  sockets.set(at, fd);
  return sys.connect(fd, address) === 0 ? "open" : "none";
}

function send(at: number, bytes: Buffer, pass: readonly string[]): string {
  const fds = pass.map((path) => (path === stderr ? 2 : openSync(path, "r")));
  try {
    return sendWith(socketAt(at), bytes, fds) === bytes.length ? "sent" : "refused";
  } finally {
    for (const fd of fds) if (fd !== 2) closeSync(fd);
  }
}

function sendWith(socket: number, bytes: Buffer, fds: readonly number[]): number {
  if (fds.length === 0) return sys.send(socket, bytes, MSG_NOSIGNAL);
  const control = Buffer.alloc(16 + 8 * Math.ceil(fds.length / 2));
  control.writeBigUInt64LE(BigInt(16 + 4 * fds.length), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  for (const [at, fd] of fds.entries()) control.writeInt32LE(fd, 16 + 4 * at);
  const vector = Buffer.alloc(16);
  // An empty buffer has no address.
  if (bytes.length > 0) vector.writeBigUInt64LE(BigInt(rawCalls.addressOf(bytes)), 0);
  vector.writeBigUInt64LE(BigInt(bytes.length), 8);
  const header = Buffer.alloc(56);
  header.writeBigUInt64LE(BigInt(rawCalls.addressOf(vector)), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(BigInt(rawCalls.addressOf(control)), 32);
  header.writeBigUInt64LE(BigInt(control.length), 40);
  return rawCalls.call(SYS_sendmsg, socket, header, MSG_NOSIGNAL);
}

function read(at: number, most: number, wait: number): Buffer {
  const fd = socketAt(at);
  const parts: Buffer[] = [];
  for (let left = most; left > 0; ) {
    if (system.wait([{ fd, events: POLLIN }], wait)[0] === 0) break;
    const part = Buffer.alloc(left);
    const got = sys.recv(fd, part, 0);
    if (got <= 0) break;
    parts.push(part.subarray(0, got));
    left -= got;
  }
  return Buffer.concat(parts);
}

import { closeSync } from "node:fs";
import { unixAddress } from "../daemon/notify.ts";
import { readIfPresent } from "../files/read_file.ts";
import { agentLock, agentSocket } from "../files/paths.ts";
import type { Sys } from "../runtime/sys.ts";
import { encodeRequest, Word } from "./protocol.ts";
import {
  AF_UNIX,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  SOL_SOCKET,
  SO_RCVTIMEO,
} from "../runtime/socket_constants.ts";

/** What there is of an agent on this node. */
export interface AgentState {
  /** "gone": there is its socket alone. "silent": something listens, and does not answer. */
  readonly kind: "none" | "gone" | "silent" | "answers";
  /** The build of the agent that has run last. */
  readonly buildId: string | undefined;
}

const EAGAIN = 11;
const ECONNREFUSED = 111;
/** Seconds that an agent may be at a call of others. */
const patience = 2;

/** Asks the agent for nothing: a call without descriptors, which every agent declines. */
export function probeAgent(sys: Sys): AgentState {
  const buildId = buildIdIn(agentLock);
  const fd = sys.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return { kind: "none", buildId };
  try {
    const timeout = Buffer.from(new BigInt64Array([BigInt(patience), 0n]).buffer);
    sys.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout);
    const problem = sys.connect(fd, unixAddress(Buffer.from(agentSocket)));
    if (problem < 0) return { kind: problem === -ECONNREFUSED ? "gone" : "none", buildId };
    const request = encodeRequest({
      buildId: buildId ?? "",
      name: "",
      env: {},
      stdin: Buffer.alloc(0),
    });
    if (request !== undefined) sys.send(fd, request, MSG_NOSIGNAL);
    const word = Buffer.alloc(1);
    const got = sys.recv(fd, word, 0);
    if (got === -EAGAIN) return { kind: "silent", buildId };
    return { kind: got === 1 && word[0] === Word.decline ? "answers" : "gone", buildId };
  } finally {
    closeSync(fd);
  }
}

function buildIdIn(path: string): string | undefined {
  try {
    return readIfPresent(path, { maxBytes: 100 })?.trim();
  } catch {
    return undefined;
  }
}

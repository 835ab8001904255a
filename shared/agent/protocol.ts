/**
 * What a client and the agent say to each other: one call a connection, over a stream socket (unix(7))
 * that root alone can reach.
 *
 *     client → agent   the request, and with its first bytes, by SCM_RIGHTS, the descriptor of a file for
 *                      stderr and, if CNI_NETNS could be opened, that of the namespace
 *     agent → client   `offer`, or `decline`: nothing is done and nothing more comes
 *     client → agent   `accept`; until then the client can leave and do the work itself
 *     agent → client   `begin`; a connection that ends before it has changed nothing
 *     agent → client   the answer; or `decline` in its place, if nothing was changed
 *
 * Who ends a connection before `accept` or `begin` has left: neither works for both to begin a call.
 * Numbers are little-endian.
 *
 * The file for stderr is one in memory, which the client prints in the end. Its own stderr is a pipe that
 * the runtime reads to its end: a stopped agent would keep that open, and the runtime waiting.
 */

/** The first bytes of a request: a name, and the version of the protocol. */
const magic = "flcni\0\0\u0001";
/** Characters of a build's id, which are ASCII. */
export const buildIdLength = 32;
const headerLength = magic.length + buildIdLength + 8;

/** Bytes of a request. What is longer, or has more variables, the client does itself. */
export const maxStdin = 1024 * 1024;
export const maxEnvironment = 64 * 1024;

/** Milliseconds from the request to `offer`, after which the client leaves. */
export const offerTimeout = 50;

/** Milliseconds from `accept` to the answer: longer than the agent lets a call and those before it take. */
export const answerTimeout = 120_000;

/** Bytes of an answer's stdout that a client takes. No result is that long. */
export const maxStdout = 64 * 1024 * 1024;

/** The bytes that either says, by their meaning. */
export const Word = {
  offer: 0x4f, // O
  decline: 0x44, // D
  accept: 0x41, // A
  begin: 0x42, // B
  answer: 0x52, // R
} as const;

/** The variables that a call is given. All others are the client's own. */
function isPassed(name: string): boolean {
  if (name.startsWith("CNI_")) return true;
  return name === "PATH" || name === "XTABLES_LOCKFILE" || name === "FLANNEL_CNI_DELEGATE_TIMEOUT";
}

/** A call as a client hands it on. */
export interface AgentRequest {
  /** Of the executable that the client belongs to. */
  readonly buildId: string;
  /** The name that the client was called by, without folders. */
  readonly name: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Uint8Array;
}

/**
 * Writes a request, or returns undefined where it is too long for the agent. Without Buffer: Bun would
 * have to load it, which takes a fifth of a millisecond.
 */
export function encodeRequest(request: AgentRequest): Uint8Array | undefined {
  const { buildId, name, env, stdin } = request;
  let text = `${name}\0`;
  for (const key in env) if (isPassed(key)) text += `${key}=${env[key] ?? ""}\0`;
  const encoder = new TextEncoder();
  const environment = encoder.encode(text);
  if (environment.length > maxEnvironment || stdin.length > maxStdin) return undefined;
  const bytes = new Uint8Array(headerLength + environment.length + stdin.length);
  bytes.set(encoder.encode(magic + buildId));
  putNumber(bytes, headerLength - 8, environment.length);
  putNumber(bytes, headerLength - 4, stdin.length);
  bytes.set(environment, headerLength);
  bytes.set(stdin, headerLength + environment.length);
  return bytes;
}

/** Writes 32 bits. An element takes of a number what it has room for. */
function putNumber(bytes: Uint8Array, at: number, value: number): void {
  for (let index = 0; index < 4; index++) bytes[at + index] = value >>> (8 * index);
}

function numberAt(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let index = 3; index >= 0; index--) value = value * 256 + (bytes[at + index] ?? 0);
  return value;
}

/**
 * The length of the whole request that begins with these bytes.
 * @returns undefined while there are too few to tell.
 * @throws RangeError if they begin no request, or one that is too long.
 */
export function requestLength(bytes: Buffer): number | undefined {
  const known = Math.min(bytes.length, magic.length);
  if (bytes.toString("latin1", 0, known) !== magic.slice(0, known)) {
    throw new RangeError("it begins with other bytes than a request of this version");
  }
  if (bytes.length < headerLength) return undefined;
  const environment = bytes.readUInt32LE(headerLength - 8);
  const stdin = bytes.readUInt32LE(headerLength - 4);
  if (environment > maxEnvironment || stdin > maxStdin) throw new RangeError("it is too long");
  return headerLength + environment + stdin;
}

/**
 * Reads a whole request.
 * @throws RangeError if it is none.
 */
export function decodeRequest(bytes: Buffer): AgentRequest {
  if (requestLength(bytes) !== bytes.length) throw new RangeError("it is not whole");
  const start = headerLength + bytes.readUInt32LE(headerLength - 8);
  const [name = "", ...variables] = bytes.toString("utf8", headerLength, start).split("\0");
  if (variables.pop() !== "") throw new RangeError("its variables do not end");
  const env: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const variable of variables) {
    const at = variable.indexOf("=");
    const key = variable.slice(0, at);
    if (at < 1 || !isPassed(key)) throw new RangeError("it has a variable that is not passed");
    // As getenv(3) has it, the first one counts.
    env[key] ??= variable.slice(at + 1);
  }
  const buildId = bytes.toString("latin1", magic.length, magic.length + buildIdLength);
  return { buildId, name, env, stdin: bytes.subarray(start) };
}

const answerHeader = 6;

/** What a call has come to. */
interface AgentAnswer {
  readonly code: number;
  readonly stdout: string;
}

/** Writes an answer: its word, the exit status, the length of stdout, stdout. */
export function encodeAnswer({ code, stdout }: AgentAnswer): Buffer {
  const text = Buffer.from(stdout);
  const header = Buffer.alloc(answerHeader);
  header[0] = Word.answer;
  header[1] = code;
  header.writeUInt32LE(text.length, 2);
  return Buffer.concat([header, text]);
}

/** What comes after `accept`, and is whole. */
type Reply =
  /** The agent has changed nothing: the client does the work. */
  | { readonly kind: "declined" }
  /** The agent has begun, and says something that is no answer. */
  | { readonly kind: "broken" }
  | Answer;

/** An answer as a client reads it. */
export interface Answer {
  readonly kind: "answer";
  readonly code: number;
  readonly stdout: Uint8Array;
}

/** Whether a connection that ends after these bytes, the first after `accept`, may have changed something. */
export function hasBegun(bytes: Uint8Array): boolean {
  return bytes[0] === Word.begin;
}

/** Reads what has come after `accept`. @returns undefined while more is to come. */
export function readReply(bytes: Uint8Array): Reply | undefined {
  if (bytes.length === 0) return undefined;
  if (!hasBegun(bytes)) return { kind: "declined" };
  if (bytes.length === 1) return undefined;
  if (bytes[1] === Word.decline) return { kind: bytes.length === 2 ? "declined" : "broken" };
  if (bytes[1] !== Word.answer) return { kind: "broken" };
  const start = 1 + answerHeader;
  if (bytes.length < start) return undefined;
  const length = numberAt(bytes, start - 4);
  if (length > maxStdout || bytes.length > start + length) return { kind: "broken" };
  if (bytes.length < start + length) return undefined;
  return { kind: "answer", code: bytes[2] ?? 1, stdout: bytes.subarray(start) };
}

/**
 * The only argument of a plugin that its client has started, or goes on as: what has become of the call
 * until then. No caller gives a plugin an argument.
 */
export const Aftermath = {
  /** Nothing: it is to be carried out without asking again. */
  unbegun: "--agent-unbegun",
  /** An ADD that the agent has begun and not answered. */
  lost: "--agent-lost",
  /** An ADD that is done, and whose result could not be printed: it is to be undone. */
  undelivered: "--agent-undelivered",
} as const;

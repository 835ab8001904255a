/**
 * What a client and the agent say to each other: one call a connection, over a stream socket (unix(7))
 * that root alone can reach.
 *
 *     client → agent   the request, and with its first bytes, by SCM_RIGHTS, the descriptor of stderr
 *                      and, if CNI_NETNS could be opened, that of the namespace
 *     agent → client   `offer`, or `decline`: nothing is done and nothing more comes
 *     client → agent   `accept`; until then the client can leave and do the work itself
 *     agent → client   `begin`; a connection that ends before it has changed nothing
 *     agent → client   the answer; or `decline` in its place, if nothing was changed
 *
 * Who ends a connection before `accept` or `begin` has left: neither works for both to begin a call.
 * Numbers are little-endian.
 */

/** The first bytes of a request: a name, and the version of the protocol. */
const magic = "flcni\0\0\u0001";
/** Characters of a build's id, which are ASCII. */
export const buildIdLength = 32;
const headerLength = magic.length + buildIdLength + 8;

/** Bytes of a request. What is longer, or has more variables, the client does itself. */
export const maxStdin = 1024 * 1024;
export const maxEnvironment = 64 * 1024;

/** Milliseconds from the connection to `offer`, after which the client leaves. */
export const offerTimeout = 50;

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
  return name.startsWith("CNI_") || passed.has(name);
}

const passed = new Set(["PATH", "XTABLES_LOCKFILE", "FLANNEL_CNI_DELEGATE_TIMEOUT"]);

/** A call as a client hands it on. */
export interface AgentRequest {
  /** Of the executable that the client belongs to. */
  readonly buildId: string;
  /** The name that the client was called by, without folders. */
  readonly name: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Uint8Array;
}

/** Writes a request, or returns undefined where it is too long for the agent. */
export function encodeRequest({ buildId, name, env, stdin }: AgentRequest): Buffer | undefined {
  let text = `${name}\0`;
  for (const key in env) if (isPassed(key)) text += `${key}=${env[key] ?? ""}\0`;
  const environment = Buffer.from(text);
  if (environment.length > maxEnvironment || stdin.length > maxStdin) return undefined;
  const header = Buffer.alloc(headerLength);
  header.write(magic + buildId, "latin1");
  header.writeUInt32LE(environment.length, headerLength - 8);
  header.writeUInt32LE(stdin.length, headerLength - 4);
  return Buffer.concat([header, environment, stdin]);
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
export interface AgentAnswer {
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

/** The answer that these bytes are, or undefined where they are a part of one, or none. */
export function decodeAnswer(bytes: Buffer): AgentAnswer | undefined {
  if (bytes.length < answerHeader || bytes[0] !== Word.answer) return undefined;
  if (bytes.readUInt32LE(2) !== bytes.length - answerHeader) return undefined;
  return { code: bytes[1] ?? 1, stdout: bytes.toString("utf8", answerHeader) };
}

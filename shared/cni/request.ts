import { quote } from "../base/text.ts";
import { CniError, Code } from "./error.ts";

/** The verbs of CNI 1.1.0, by the name that CNI_COMMAND gives them. */
export type Verb = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** The environment of one call, validated ("Parameters", SPEC.md). Absent variables are "". */
export interface Request {
  readonly verb: Verb;
  readonly containerId: string;
  /** Path of the container's network namespace; "" for a DEL after it has gone. */
  readonly netns: string;
  /** Name of the interface inside the container. */
  readonly ifname: string;
  /** CNI_ARGS as it is, for {@link readArgs}: many plugins have no use for it. */
  readonly args: string;
  /** Folders to look for delegates in, in order. */
  readonly path: readonly string[];
  /** Whether CNI_NETNS may be the host's own namespace. */
  readonly netnsOverride: boolean;
}

/** A container's interface, as GC's list of valid ones has it. */
export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
}

/** Bytes of a file's name (NAME_MAX of linux/limits.h). An id is ASCII. */
const maxId = 255;
/**
 * Bytes of an id that an ADD accepts: the temporary file that it is written by has a longer name.
 */
const maxNewId = 200;

type Environment = Readonly<Record<string, string | undefined>>;

interface Rule {
  readonly name: string;
  /** The verbs that cannot do without it. */
  readonly required: readonly Verb[];
  /** What a value must be but is not, or undefined. */
  readonly problem?: (value: string, verb: Verb) => string | undefined;
}

const verbs: readonly Verb[] = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"];

/** Every variable, the verbs that need it (SPEC.md, "Parameters") and the values it may have. */
const rules: readonly Rule[] = [
  { name: "CNI_COMMAND", required: verbs },
  { name: "CNI_CONTAINERID", required: ["ADD", "DEL", "CHECK"], problem: containerIdProblem },
  { name: "CNI_NETNS", required: ["ADD", "CHECK"], problem: nulProblem },
  { name: "CNI_IFNAME", required: ["ADD", "DEL", "CHECK"], problem: containerIfnameProblem },
  { name: "CNI_ARGS", required: [] },
  { name: "CNI_PATH", required: ["ADD", "DEL", "CHECK", "GC", "STATUS"], problem: nulProblem },
  { name: "CNI_NETNS_OVERRIDE", required: [] },
];

/**
 * Reads the environment of a call.
 * @throws CniError InvalidEnvironment, naming every variable that is missing or malformed.
 */
export function readRequest(env: Environment): Request {
  const verb = readVerb(env["CNI_COMMAND"] ?? "");
  const missing: string[] = [];
  const malformed: string[] = [];
  for (const { name, required, problem } of rules) {
    const value = env[name] ?? "";
    if (value === "") {
      if (required.includes(verb)) missing.push(name);
      continue;
    }
    const must = verb === "VERSION" ? undefined : problem?.(value, verb);
    if (must !== undefined) malformed.push(`${name} ${must} (got ${quote(value)})`);
  }
  if (missing.length > 0) {
    throw new CniError(
      Code.InvalidEnvironment,
      `Cannot run ${verb}: ${missing.join(", ")} must be set.`,
      `A container runtime sets ${missing.length === 1 ? "it" : "them"}. By hand, use cnitool, or set what the CNI specification lists under "Parameters".`,
    );
  }
  if (malformed.length > 0) {
    throw new CniError(
      Code.InvalidEnvironment,
      `Cannot run ${verb}: ${malformed.join("; ")}.`,
      "Correct the variable where this call is made: in the container runtime.",
    );
  }
  return {
    verb,
    containerId: env["CNI_CONTAINERID"] ?? "",
    netns: env["CNI_NETNS"] ?? "",
    ifname: env["CNI_IFNAME"] ?? "",
    args: env["CNI_ARGS"] ?? "",
    path: (env["CNI_PATH"] ?? "").split(":").filter((folder) => folder !== ""),
    netnsOverride: ["1", "true"].includes((env["CNI_NETNS_OVERRIDE"] ?? "").toLowerCase()),
  };
}

/**
 * What a container id or a network name must be but is not, or undefined. The rule is libcni's. Ids
 * become names of files: this is what keeps them inside their folder.
 */
export function idProblem(value: string): string | undefined {
  if (value.length > maxId) return `must be at most ${String(maxId)} characters long`;
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(value)) return undefined;
  return "must begin with a letter or digit, followed by letters, digits, '_', '.' and '-' alone";
}

/** The same for one that is about to be used for the first time, by an ADD. */
export function newIdProblem(value: string): string | undefined {
  if (value.length > maxNewId) return `must be at most ${String(maxNewId)} characters long`;
  return idProblem(value);
}

/**
 * What an interface's name must be but is not, or undefined. The rule is the kernel's (dev_valid_name
 * in net/core/dev.c).
 */
export function ifnameProblem(value: string): string | undefined {
  if (value === "") return "must not be empty";
  if (Buffer.byteLength(value) > 15) return "must be at most 15 bytes long";
  if (value === "." || value === "..") return "must not be '.' or '..'";
  if (/[/:\s\0]/.test(value)) return "must not contain '/', ':' or white space";
  return undefined;
}

/** The same for one that is about to be made. Of "eth%d" the kernel would make another name. */
export function newIfnameProblem(value: string): string | undefined {
  if (value.includes("%")) return "must not contain '%'";
  if (value === "all" || value === "default") {
    return "must not be 'all' or 'default', which the kernel keeps for its settings of all interfaces";
  }
  return ifnameProblem(value);
}

function containerIdProblem(value: string, verb: Verb): string | undefined {
  return verb === "ADD" ? newIdProblem(value) : idProblem(value);
}

function containerIfnameProblem(value: string, verb: Verb): string | undefined {
  return verb === "ADD" ? newIfnameProblem(value) : ifnameProblem(value);
}

/** What a path must be but is not, or undefined. */
export function nulProblem(value: string): string | undefined {
  return value.includes("\0") ? "must not contain a NUL byte" : undefined;
}

/** What a pair of CNI_ARGS must be but is not: it would be read differently from how it is written. */
export function argProblem(key: string, value: string): string | undefined {
  if (key === "" || /[=;]/.test(key)) return "must have a key without '=' and ';'";
  if (value.includes(";")) return "must not contain ';'";
  return nulProblem(key) ?? nulProblem(value);
}

function readVerb(value: string): Verb {
  const verb = verbs.find((known) => known === value);
  if (verb !== undefined) return verb;
  throw new CniError(
    Code.InvalidEnvironment,
    value === ""
      ? "Cannot run: CNI_COMMAND must be set."
      : `Cannot run: CNI_COMMAND must be a verb of CNI (got ${quote(value)}).`,
    `Set CNI_COMMAND to one of ${verbs.join(", ")}.`,
  );
}

/**
 * The pairs of CNI_ARGS, for a plugin that looks at some of them. An ADD refuses what it cannot read,
 * because it may be an address or a MAC that the pod must have; the other verbs ignore it.
 * @throws CniError InvalidEnvironment
 */
export function readArgs({ args, verb }: Request): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>();
  for (const pair of args.split(";")) {
    // A ';' at the end is common.
    if (pair === "") continue;
    const at = pair.indexOf("=");
    if (at > 0) pairs.set(pair.slice(0, at), pair.slice(at + 1));
    else if (verb === "ADD") throw badArgs(pair);
  }
  return pairs;
}

function badArgs(pair: string): CniError {
  return new CniError(
    Code.InvalidEnvironment,
    `Cannot read CNI_ARGS: each part must be KEY=VALUE (got ${quote(pair)}).`,
    "The runtime sets CNI_ARGS: KEY=VALUE pairs with ';' between them.",
  );
}

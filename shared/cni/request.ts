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
  /** CNI_ARGS, keys as given. */
  readonly args: ReadonlyMap<string, string>;
  /** Folders to look for delegates in, in order. */
  readonly path: readonly string[];
  /** Whether a namespace that is the host's own is allowed all the same. */
  readonly netnsOverride: boolean;
}

/** A container's interface, as GC's list of valid ones has it. */
export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

interface Rule {
  readonly name: string;
  /** The verbs that cannot do without it. */
  readonly required: readonly Verb[];
  /** What is wrong with a value, or undefined. */
  readonly problem?: (value: string) => string | undefined;
}

const verbs: readonly Verb[] = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"];

/**
 * Every variable, the verbs that need it and the values it may have. The requirements are the
 * specification's; the characters of an id are libcni's, the rules of a name the kernel's
 * (dev_valid_name: at most 15 bytes, no '/', ':' or white space).
 */
const table: readonly Rule[] = [
  { name: "CNI_COMMAND", required: verbs },
  { name: "CNI_CONTAINERID", required: ["ADD", "DEL", "CHECK"], problem: idProblem },
  { name: "CNI_NETNS", required: ["ADD", "CHECK"], problem: nulProblem },
  { name: "CNI_IFNAME", required: ["ADD", "DEL", "CHECK"], problem: ifnameProblem },
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
  const wrong: string[] = [];
  for (const rule of table) {
    const value = env[rule.name] ?? "";
    if (value === "") {
      if (rule.required.includes(verb)) missing.push(rule.name);
      continue;
    }
    const problem = verb === "VERSION" ? undefined : rule.problem?.(value);
    if (problem !== undefined) wrong.push(`${rule.name} is ${quote(value)}, which ${problem}`);
  }
  if (missing.length > 0) {
    throw new CniError(
      Code.InvalidEnvironment,
      `Cannot run ${verb}: ${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} not set.`,
      `A container runtime sets these for ${verb}. By hand, set them as the CNI specification's "Parameters" says, or use cnitool.`,
    );
  }
  if (wrong.length > 0) {
    throw new CniError(
      Code.InvalidEnvironment,
      `Cannot run ${verb}: ${wrong.join("; ")}.`,
      "Correct the variable in the runtime that makes this call.",
    );
  }
  return {
    verb,
    containerId: env["CNI_CONTAINERID"] ?? "",
    netns: env["CNI_NETNS"] ?? "",
    ifname: env["CNI_IFNAME"] ?? "",
    args: readArgs(env["CNI_ARGS"] ?? "", verb),
    path: (env["CNI_PATH"] ?? "").split(":").filter((folder) => folder !== ""),
    netnsOverride: ["1", "true"].includes((env["CNI_NETNS_OVERRIDE"] ?? "").toLowerCase()),
  };
}

/** What is wrong with a container id or a network name, or undefined. */
export function idProblem(value: string): string | undefined {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(value)) {
    // An id becomes a file name next to a temporary one; the kernel's limit for one is 255 bytes.
    return value.length <= 200 ? undefined : `has ${value.length} characters (200 at most)`;
  }
  return "must begin with a letter or digit and hold only letters, digits, '_', '.' and '-'";
}

/** What is wrong with an interface name, or undefined. */
export function ifnameProblem(value: string): string | undefined {
  if (Buffer.byteLength(value) > 15) return "is longer than the kernel's 15 bytes";
  if (value === "." || value === "..") return "the kernel does not allow as a name";
  if (/[/:\s\0]/.test(value)) return "holds a '/', a ':' or white space";
  return undefined;
}

/** What is wrong with a path, or undefined. */
export function nulProblem(value: string): string | undefined {
  return value.includes("\0") ? "holds a NUL byte" : undefined;
}

/** What is wrong with a pair of CNI_ARGS, which would not come out of the variable as it went in. */
export function argProblem(key: string, value: string): string | undefined {
  if (key === "" || /[=;]/.test(key)) return "must have a key without '=' and ';'";
  if (value.includes(";")) return "holds a ';'";
  return nulProblem(key) ?? nulProblem(value);
}

function readVerb(value: string): Verb {
  const verb = verbs.find((known) => known === value);
  if (verb !== undefined) return verb;
  throw new CniError(
    Code.InvalidEnvironment,
    value === ""
      ? "Cannot run: CNI_COMMAND is not set."
      : `Cannot run: CNI_COMMAND is ${quote(value)}, which is no verb of CNI.`,
    `Set CNI_COMMAND to one of ${verbs.join(", ")}.`,
  );
}

function readArgs(text: string, verb: Verb): ReadonlyMap<string, string> {
  const args = new Map<string, string>();
  if (text === "" || verb === "VERSION") return args;
  for (const pair of text.split(";")) {
    const at = pair.indexOf("=");
    if (at <= 0) {
      throw new CniError(
        Code.InvalidEnvironment,
        `Cannot run ${verb}: CNI_ARGS holds ${quote(pair)}, which is no KEY=VALUE.`,
        "Write CNI_ARGS as KEY=VALUE pairs with ';' between them.",
      );
    }
    args.set(pair.slice(0, at), pair.slice(at + 1));
  }
  return args;
}

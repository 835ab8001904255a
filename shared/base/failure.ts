/**
 * What kind of thing went wrong. A plugin turns it into a code of the CNI specification, a daemon
 * into a log line and a retry.
 *
 *     kernel    the kernel refused a link, an address, a route or a sysctl
 *     firewall  iptables or nftables refused a change, or is not installed
 *     busy      another process has the lock; the same call can work later
 *     io        a file could not be read or written
 *     conflict  what is on the node contradicts what is wanted
 *     missing   another program has not yet made something that is needed
 *     invalid   the caller named the wrong thing, such as a path that is not a namespace
 */
export type FailureKind =
  | "kernel"
  | "firewall"
  | "busy"
  | "io"
  | "conflict"
  | "missing"
  | "invalid";

interface FailureOptions extends ErrorOptions {
  /** The kernel's error number, if the kernel refused. */
  readonly errno?: number;
}

/**
 * An expected failure: the node, the kernel or another program is in the way, not a defect.
 *
 * `message` says what could not be done and why ("Cannot X: Y."), `advice` what the operator can do
 * next. Both are shown to people, so neither may hold secrets.
 */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly kind: FailureKind;
  readonly advice: string;
  readonly errno: number | undefined;

  constructor(kind: FailureKind, message: string, advice: string, options: FailureOptions = {}) {
    super(message, options);
    this.kind = kind;
    this.advice = advice;
    this.errno = options.errno;
  }
}

/** Whether a thrown value is a failure of this kind. */
export function isFailure(thrown: unknown, kind: FailureKind): thrown is Failure {
  return thrown instanceof Failure && thrown.kind === kind;
}

/** The message of a thrown value. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The name of the errno ("ENOENT") of an error that one of the runtime's system calls threw. */
export function errnoOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !("code" in thrown)) return undefined;
  return typeof thrown.code === "string" ? thrown.code : undefined;
}

/**
 * What kind of thing went wrong, for whoever decides what to do about it: a plugin turns it into a
 * code of the CNI specification, a daemon into a line of its log and a retry.
 *
 *     kernel    the kernel refused a link, an address, a route or a sysctl
 *     firewall  iptables or nftables refused a change, or is not installed
 *     busy      another process is at it; the same call can work later
 *     io        a file could not be read or written
 *     conflict  what is on the node contradicts what is wanted
 *     missing   something that another program is to make is not there yet
 *     invalid   what the caller named is not what it must be
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
  /** The kernel's error number, where it was the kernel that refused. */
  readonly errno?: number;
}

/**
 * Something that was to be done could not be, for a reason that a program has to expect.
 *
 * `message` says what and why ("Cannot X: Y."); `advice` says what the operator can do next. Both
 * are shown to people, so neither holds secrets.
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

/** Whether something that was thrown is a failure of a kind. */
export function isFailure(thrown: unknown, kind: FailureKind): thrown is Failure {
  return thrown instanceof Failure && thrown.kind === kind;
}

/** The text of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The errno's name ("ENOENT") of an error that a system call of the runtime threw, if it has one. */
export function errnoOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !("code" in thrown)) return undefined;
  return typeof thrown.code === "string" ? thrown.code : undefined;
}

import { errnoOf, Failure, messageOf } from "../base/failure.ts";
import type { FailureKind } from "../base/failure.ts";

/**
 * The error that leaves a plugin, and every code it can carry.
 *
 * Codes 1–11 and 50–51 are the CNI specification's ("Error", SPEC.md 1.1.0); 100 and up are ours.
 * 999 is what an unforeseen exception becomes at the edge, and is never thrown on purpose.
 */
export const Code = {
  /** The config asks for a CNI version, or a verb of one, that is not supported. */
  IncompatibleVersion: 1,
  /** A field of the config is known but cannot be honoured. */
  UnsupportedField: 2,
  /** The container is not known, or is gone: the runtime need not clean up. */
  UnknownContainer: 3,
  /** CNI_COMMAND, CNI_CONTAINERID and their kind are missing or malformed. */
  InvalidEnvironment: 4,
  /** Reading stdin, or a file that the call cannot do without, failed. */
  IoFailure: 5,
  /** The config is no JSON, or not the JSON of a network config. */
  DecodingFailure: 6,
  /** The config was read, but says something that cannot be done. */
  InvalidNetworkConfig: 7,
  /** A passing condition: the runtime should call again later. */
  TryAgainLater: 11,
  /** STATUS: ADD would fail. */
  PluginNotAvailable: 50,
  /** STATUS: ADD would fail, and pods that exist may be cut off too. */
  LimitedConnectivity: 51,
  /** iptables or nftables refused a change. */
  Firewall: 100,
  /** The kernel refused a link, address, route or sysctl. */
  Kernel: 101,
  /** What exists on the node contradicts the config, such as a bridge with another address. */
  Conflict: 102,
  /** No address is free in a range set. */
  Exhausted: 103,
  /** The container already holds an address of this network. */
  AlreadyAllocated: 104,
  /** CHECK: what should be there is not. */
  CheckFailed: 105,
  /** A delegate could not be started, or did not answer as the specification says. */
  Delegate: 106,
  /** Undoing or deleting left something behind. */
  Incomplete: 107,
  Internal: 999,
} as const;

/**
 * An error with a CNI code.
 *
 * `message` says what could not be done and why ("Cannot X: Y is Z."); `details` says what the
 * operator can do next. Both are shown by kubelet, so neither holds secrets or whole configs.
 */
export class CniError extends Error {
  override readonly name = "CniError";
  /** A code of {@link Code}, or any other that an executed delegate answered with. */
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, details: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** The code of each kind of failure. */
const codes: Readonly<Record<FailureKind, number>> = {
  kernel: Code.Kernel,
  firewall: Code.Firewall,
  busy: Code.TryAgainLater,
  io: Code.IoFailure,
  conflict: Code.Conflict,
  missing: Code.TryAgainLater,
  invalid: Code.InvalidEnvironment,
};

/**
 * An error with a code, for a call that says what has failed and goes on. An error that a system
 * call threw where none was expected is the disk's or the kernel's, not a defect.
 * @throws anything else, for that is a defect.
 */
export function asCniError(thrown: unknown): CniError {
  if (thrown instanceof CniError) return thrown;
  if (thrown instanceof Failure) {
    return new CniError(codes[thrown.kind], thrown.message, thrown.advice, { cause: thrown });
  }
  // A runtime's own codes have an underscore: ERR_INVALID_ARG_TYPE.
  if (!/^E[A-Z0-9]+$/.test(errnoOf(thrown) ?? "")) throw thrown;
  return new CniError(
    Code.IoFailure,
    `Cannot go on: ${messageOf(thrown)}.`,
    "The disk or the kernel refuses what it should not: see the kernel's log (dmesg).",
    { cause: thrown },
  );
}

/** What an error with a code says to people; undefined for any other. */
export function explainError(error: unknown): { message: string; advice: string } | undefined {
  return error instanceof CniError ? { message: error.message, advice: error.details } : undefined;
}

/**
 * Makes one error of several, for a DEL that went on after the first.
 *
 * The first one's code is kept, for it is what stopped the first thing that should have been done.
 */
export function joinErrors(errors: readonly CniError[]): CniError {
  const [first] = errors;
  if (first === undefined) throw new RangeError("joinErrors needs at least one error");
  if (errors.length === 1) return first;
  return new CniError(
    first.code,
    errors.map((error) => error.message).join("; "),
    [...new Set(errors.map((error) => error.details))].join(" "),
    { cause: first },
  );
}

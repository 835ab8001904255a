import { errnoOf, Failure, messageOf } from "../base/failure.ts";
import type { FailureKind } from "../base/failure.ts";
import { withoutFullStop } from "../base/text.ts";

/**
 * The codes of the errors that a plugin prints. 1 to 11, 50 and 51 are the CNI specification's
 * (SPEC.md 1.1.0, "Error"); those from 100 on are ours. 999 is what skel.ts makes of an exception that
 * nobody expected.
 */
export const Code = {
  /** The config's CNI version is not supported, or does not have the verb. */
  IncompatibleVersion: 1,
  /** A field of the config is not supported. */
  UnsupportedField: 2,
  /** The container is unknown or gone: the runtime need not clean up. */
  UnknownContainer: 3,
  /** A variable such as CNI_CONTAINERID is missing or malformed. */
  InvalidEnvironment: 4,
  /** stdin, or a file that the call needs, could not be read or written. */
  IoFailure: 5,
  /** The config is not JSON, or not that of a network config. */
  DecodingFailure: 6,
  /** The config asks for something that cannot be done. */
  InvalidNetworkConfig: 7,
  /** The runtime should call again later. */
  TryAgainLater: 11,
  /** STATUS: ADD would fail. */
  PluginNotAvailable: 50,
  /** STATUS: ADD would fail, and existing pods may lack connectivity. */
  LimitedConnectivity: 51,
  /** iptables or nftables refused a change. */
  Firewall: 100,
  /** The kernel refused a link, address, route or sysctl. */
  Kernel: 101,
  /** Something on the node contradicts the config, such as a bridge with another address. */
  Conflict: 102,
  /** No address is free in a range set. */
  Exhausted: 103,
  /** The container already has an address of this network. */
  AlreadyAllocated: 104,
  /** CHECK: something that ADD made is missing. */
  CheckFailed: 105,
  /** A delegate could not be run, or printed something that is not CNI's. */
  Delegate: 106,
  /** Something was left behind. */
  Incomplete: 107,
  Internal: 999,
} as const;

/**
 * An error with a CNI code.
 *
 * `message` says what cannot be done and why ("Cannot X: Y must be Z (got V)."), `details` what to do
 * about it. kubelet shows both, so neither may hold secrets or a whole config.
 */
export class CniError extends Error {
  override readonly name = "CniError";
  /** A code of {@link Code}, or what an executed delegate printed. */
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, details: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

const codeOfKind: Readonly<Record<FailureKind, number>> = {
  kernel: Code.Kernel,
  firewall: Code.Firewall,
  busy: Code.TryAgainLater,
  io: Code.IoFailure,
  conflict: Code.Conflict,
  missing: Code.TryAgainLater,
  invalid: Code.InvalidEnvironment,
};

/**
 * Gives a code to anything that is not a bug: a failure of what is below the plugins, or a system
 * call's error where none was expected.
 * @throws anything else.
 */
export function asCniError(thrown: unknown): CniError {
  if (thrown instanceof CniError) return thrown;
  if (thrown instanceof Failure) {
    return new CniError(codeOfKind[thrown.kind], thrown.message, thrown.advice, { cause: thrown });
  }
  // A runtime's own codes have an underscore: ERR_INVALID_ARG_TYPE.
  if (!/^E[A-Z0-9]+$/.test(errnoOf(thrown) ?? "")) throw thrown;
  return new CniError(
    Code.IoFailure,
    `Cannot go on: ${messageOf(thrown)}.`,
    "The disk or the kernel refused a system call: see the kernel's log (dmesg).",
    { cause: thrown },
  );
}

/** What an error with a code says to people; undefined for any other. */
export function explainError(error: unknown): { message: string; advice: string } | undefined {
  return error instanceof CniError ? { message: error.message, advice: error.details } : undefined;
}

/** Combines errors. The result has the code of the first, which often caused the others. */
export function joinErrors(errors: readonly CniError[]): CniError {
  const [first] = errors;
  if (first === undefined) throw new RangeError("joinErrors needs at least one error");
  if (errors.length === 1) return first;
  return new CniError(
    first.code,
    `${errors.map((error) => withoutFullStop(error.message)).join("; ")}.`,
    [...new Set(errors.map((error) => error.details))].join(" "),
    { cause: first },
  );
}

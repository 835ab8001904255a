import { CniError, Code } from "../cni/error.ts";

/** One thing that is wrong with a node. */
export interface Finding {
  /** Says which kind it is, and stays the same: for programs, and for the manual. */
  readonly id: string;
  /** error: pods are cut off or cannot start. warning: something is lost, or will go wrong. */
  readonly severity: "error" | "warning";
  /** What was seen. */
  readonly what: string;
  /** What it means for pods. */
  readonly means: string;
  /** The command that repairs it, or where to begin. */
  readonly fix: string;
}

/** What STATUS answers when a precondition of ADD does not hold. */
export class NotReady extends CniError {
  readonly finding: Finding;

  constructor(finding: Finding) {
    super(Code.PluginNotAvailable, `Cannot add pods: ${finding.what}`, finding.fix);
    this.finding = finding;
  }
}

/** @throws NotReady for the first of some findings that keeps pods from starting. */
export function requireAll(findings: readonly (Finding | undefined)[]): void {
  const found = findings.find((finding) => finding?.severity === "error");
  if (found !== undefined) throw new NotReady(found);
}

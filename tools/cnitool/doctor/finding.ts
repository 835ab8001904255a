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
  /** The command that mends it, or where to begin. */
  readonly mend: string;
}

/** Some of many names in a sentence. */
export function some(names: readonly string[]): string {
  const most = 4;
  const shown = names.slice(0, most).join(", ");
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

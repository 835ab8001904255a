/** The clients of the agent under test. */
import { binDir } from "./executables.ts";
import { isBun } from "./form.ts";

export interface Client {
  readonly name: string;
  /** The folder where the plugins' names are the client's. */
  readonly bin: string;
}

/** The executable is one itself on Bun alone. */
export function clients(): readonly Client[] {
  return isBun ? [{ name: "executable", bin: binDir() }] : [];
}

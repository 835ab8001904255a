import { messageOf } from "../base/failure.ts";
import type { Json } from "../base/json.ts";
import { printable } from "../base/text.ts";
import type { Sys } from "../runtime/sys.ts";

/** Nothing can be written to stdout. The cause is the runtime's own error. */
export class OutputError extends Error {
  override readonly name = "OutputError";
}

/**
 * Where a program prints. All that may hold what others have written goes through
 * {@link printable}: names of links, pods and files, and messages that quote them.
 */
export class Terminal {
  readonly #sys: Pick<Sys, "write">;

  constructor(sys: Pick<Sys, "write">) {
    this.#sys = sys;
  }

  /** Prints a line. @throws OutputError */
  line(text: string): void {
    this.script(`${printable(text)}\n`);
  }

  /** Prints a value as JSON. @throws OutputError */
  json(value: Json | object, indent: number = 2): void {
    // Inside of strings alone, where an escape means the same, JSON has characters like these.
    for (const line of JSON.stringify(value, undefined, indent).split("\n")) this.line(line);
  }

  /** Prints a text as it is: a program's own, with nothing of others in it. @throws OutputError */
  script(text: string): void {
    try {
      this.#sys.write(1, text);
    } catch (cause) {
      throw new OutputError(messageOf(cause), { cause });
    }
  }

  /** Says something on stderr, where it does not disturb what reads the output. */
  say(line: string): void {
    try {
      this.#sys.write(2, `${printable(line)}\n`);
    } catch {
      // There is nobody to tell. The exit status says the rest.
    }
  }
}

import { messageOf } from "../base/failure.ts";
import type { Json } from "../base/json.ts";
import { printable } from "../base/text.ts";
import type { Sys } from "../runtime/sys.ts";

/** Nothing can be written to stdout. The cause is the runtime's own error. */
export class OutputError extends Error {
  override readonly name = "OutputError";
}

/**
 * Where a program prints. Whatever others may have written goes through {@link printable}: names of
 * links, pods and files, and messages that quote them.
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
    // JSON has such characters only in strings, where an escape means the same.
    for (const line of JSON.stringify(value, undefined, indent).split("\n")) this.line(line);
  }

  /** Prints a text as it is: only for the program's own text. @throws OutputError */
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

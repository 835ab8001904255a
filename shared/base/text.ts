/**
 * A text as it may be printed for people, on one line: what would move a terminal's cursor, begin
 * another line or change the direction of reading is shown as its code, `\u001b`. That is control
 * characters (C0, DEL and C1), format characters (bidi controls among them), the separators of
 * lines and paragraphs, and lone surrogates.
 */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (found) => {
    if (found === "\n") return "\\n";
    if (found === "\t") return "\\t";
    // By code units, as JSON has it.
    return found
      .split("")
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .join("");
  });
}

/** A value in quotes, printable, and cut to a length that fits in a message. */
export function quote(value: string): string {
  const shown = value.length > 64 ? `${value.slice(0, 64)}…` : value;
  return printable(JSON.stringify(shown));
}

/** A sentence that something else can follow. */
export function withoutFullStop(sentence: string): string {
  return sentence.endsWith(".") ? sentence.slice(0, -1) : sentence;
}

/** The last name of a path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

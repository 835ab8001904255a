/**
 * Go's regular expressions (RE2), as far as JavaScript has them. Go's take linear time, and these may not;
 * but what they are matched with are names of interfaces, of at most 15 characters, and addresses.
 */

/** Why a text is no pattern, as a clause. */
export class PatternError extends Error {}

/** The classes of POSIX, as the inside of brackets. */
const classes: Readonly<Record<string, string>> = {
  ...{ alnum: "0-9A-Za-z", alpha: "A-Za-z", ascii: "\\x00-\\x7f", blank: "\\t ", digit: "0-9" },
  ...{ cntrl: "\\x00-\\x1f\\x7f", graph: "!-~", lower: "a-z", print: " -~", upper: "A-Z" },
  ...{ punct: "!-\\/:-@\\[-`{-~", space: "\\t\\n\\v\\f\\r ", word: "0-9A-Za-z_" },
  xdigit: "0-9A-Fa-f",
};

/** The same for what they leave out, of all that JavaScript's characters can be. */
const complements: Readonly<Record<string, string>> = {
  ...{ alnum: "\\x00-\\/:-@\\[-`{-\\uffff", alpha: "\\x00-@\\[-`{-\\uffff" },
  ...{ ascii: "\\x80-\\uffff", blank: "\\x00-\\x08\\n-\\x1f!-\\uffff" },
  ...{ digit: "\\x00-\\/:-\\uffff", cntrl: " -~\\x80-\\uffff", graph: "\\x00- \\x7f-\\uffff" },
  ...{ lower: "\\x00-`{-\\uffff", print: "\\x00-\\x1f\\x7f-\\uffff", upper: "\\x00-@\\[-\\uffff" },
  ...{ punct: "\\x00- 0-9A-Za-z\\x7f-\\uffff", space: "\\x00-\\x08\\x0e-\\x1f!-\\uffff" },
  ...{ word: "\\x00-\\/:-@\\[-\\^`{-\\uffff", xdigit: "\\x00-\\/:-@G-`g-\\uffff" },
};

/** What has another name in JavaScript. */
const escapes: Readonly<Record<string, string>> = {
  ...{ A: "(?<![^])", z: "(?![^])", a: "\\x07" },
};

/** @throws PatternError */
export function parseGoPattern(text: string): RegExp {
  const { flags, rest } = leadingFlags(text);
  let source = "";
  for (let at = 0; at < rest.length; ) {
    const [translated, length] = next(rest.slice(at));
    source += translated;
    at += length;
  }
  try {
    return new RegExp(source, flags);
  } catch {
    throw new PatternError("must be a regular expression");
  }
}

function leadingFlags(text: string): { readonly flags: string; readonly rest: string } {
  const flags = new Set<string>();
  let rest = text;
  for (;;) {
    const [whole = "", on = "", off = ""] = /^\(\?([a-zA-Z]*)(?:-([a-zA-Z]+))?\)/.exec(rest) ?? [];
    if (whole === "") return { flags: [...flags].join(""), rest };
    for (const flag of on + off) {
      if (flag === "U") throw new PatternError("must not have the flag U, which JavaScript lacks");
      if (!"ims".includes(flag)) throw new PatternError(`must not have the flag ${flag}`);
    }
    for (const flag of on) flags.add(flag);
    for (const flag of off) flags.delete(flag);
    rest = rest.slice(whole.length);
  }
}

/** Translates what a text begins with. @returns that, and how long it was. */
function next(text: string): readonly [string, number] {
  if (text.startsWith("\\")) return nextEscape(text);
  if (text.startsWith("[")) return nextClass(text);
  if (text.startsWith("(?P<")) return ["(?<", 4];
  if (/^\(\?[a-zA-Z-]+\)/.test(text)) {
    throw new PatternError("must have its flags at the start: JavaScript lacks them elsewhere");
  }
  return [text.slice(0, 1), 1];
}

function nextEscape(text: string): readonly [string, number] {
  const [whole = ""] =
    /^\\(?:Q[^]*?(?:\\E|$)|[pP](?:\{[^}]*\}|.)?|x\{[^}]*\}|[^])?/.exec(text) ?? [];
  const kind = whole[1] ?? "";
  if (kind === "Q") {
    const literal = whole.slice(2).replace(/\\E$/, "");
    return [literal.replaceAll(/[$()*+./?[\\\]^{|}-]/g, "\\$&"), whole.length];
  }
  if (kind === "p" || kind === "P" || kind === "C") {
    throw new PatternError(
      `must not have ${whole}, which is not supported: use a class such as [a-z]`,
    );
  }
  if (whole.startsWith("\\x{")) return [codeOf(whole), whole.length];
  return [escapes[kind] ?? whole, whole.length];
}

function codeOf(whole: string): string {
  const digits = /^\\x\{([\dA-Fa-f]{1,4})\}$/.exec(whole)?.[1];
  if (digits === undefined) {
    throw new PatternError(`must not have ${whole}: at most four hexadecimal digits are supported`);
  }
  return `\\u${digits.padStart(4, "0")}`;
}

function nextClass(text: string): readonly [string, number] {
  let at = text.startsWith("[^") ? 2 : 1;
  let source = text.slice(0, at);
  // In JavaScript this would be an empty class.
  if (text[at] === "]") {
    source += "\\]";
    at++;
  }
  while (at < text.length && text[at] !== "]") {
    const rest = text.slice(at);
    const [whole = "", not, name = ""] = /^\[:(\^?)(\w+):\]/.exec(rest) ?? [];
    const named = (not === "^" ? complements : classes)[name];
    if (whole !== "" && named === undefined)
      throw new PatternError(`must not have the class ${whole}`);
    const [translated, length] = named === undefined ? classPart(rest) : [named, whole.length];
    source += translated;
    at += length;
  }
  return [source + text.slice(at, at + 1), at + 1];
}

function classPart(text: string): readonly [string, number] {
  if (!text.startsWith("\\")) return [text.slice(0, 1), 1];
  if (/^\\[AzQ]/.test(text))
    throw new PatternError(`must not have ${text.slice(0, 2)} in brackets`);
  return nextEscape(text);
}

/**
 * The codecs of the `netlink` package are CommonJS, of which a bundler takes all or nothing:
 * 143 kB, one or two milliseconds at every start. What TypeScript has emitted there follows a handful
 * of patterns, so this turns it back into ES modules, of which a bundler takes what is used (20 kB).
 *
 * @throws Error where something is left that none of the patterns covers: a new version of the
 *   package, say. Then extend the patterns.
 */
export function toModule(code: string, path: string): string {
  const names: string[] = [];
  const body = code
    .replace(/^"use strict";$/m, "")
    .replaceAll(/^var __\w+ = \(this [^]*?^\}\)?\)?;$/gm, "")
    .replace(/^Object\.defineProperty\(exports, "__esModule".*$/m, "")
    .replaceAll(/^exports\.\w+ = .*void 0;$/gm, "")
    // The byte order, asked of the processor instead of node:os, which costs a load.
    .replace(/^const os_1 = require\("os"\);$/m, "")
    .replace("(0, os_1.endianness)() === 'LE'", "new Uint8Array(Uint16Array.of(1).buffer)[0] === 1")
    .replaceAll(
      /^const (\w+) = (?:__importStar\()?require\("(.+?)"\)\)?;$/gm,
      'import * as $1 from "$2";',
    )
    .replaceAll(/^__exportStar\(require\("(.+?)"\), exports\);$/gm, 'export * from "$1";')
    .replaceAll(
      /^var (\w+);\n\(function \(\1\) \{\n([^]*?)^\}\)\(\1 = exports\.\1 \|\| \(exports\.\1 = \{\}\)\);$/gm,
      // An enumeration, made where a name is looked up in it: we say numbers.
      "export const $1 = () => (($1) => {\n$2    return $1;\n})({});",
    )
    .replaceAll(
      /\bstructs\.putEnum\((\w+), ([\w.]+)\)/g,
      '(typeof $2 === "number" ? $2 : structs.putEnum($1(), $2))',
    )
    .replaceAll(/\bstructs\.getEnum\((\w+), /g, "structs.getEnum($1(), ")
    // A table of functions, whose computed keys a bundler takes for code with an effect.
    .replaceAll(
      /^const (\w+) = \{\n([^]*?)^\};$/gm,
      "const $1 = /* @__PURE__ */ (() => ({\n$2}))();",
    )
    .replaceAll(/^exports\.(\w+) = \1;$/gm, (_, name: string) => {
      names.push(name);
      return "";
    })
    .replaceAll(/^exports\.(\w+) = /gm, "export const $1 = ")
    .replaceAll(/\bexports\.(\w+)/g, "$1");
  const left = /^(?!\s*(?:\*|\/\/)).*\b(?:exports|require|__\w+Star|os_1)\b.*$/m.exec(body);
  if (left !== null) {
    throw new Error(`${path}: scripts/build/netlink.ts does not know this code: ${left[0]}`);
  }
  return `${body}\nexport { ${names.join(", ")} };\n`;
}

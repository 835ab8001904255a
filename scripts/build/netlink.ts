/**
 * Turns the `netlink` package's codecs into ES modules. They are CommonJS, which a bundler takes whole:
 * 143 kB, one or two milliseconds at every start. Of ES modules it takes what is used: 20 kB. The
 * package's code was emitted by TypeScript and follows a handful of patterns.
 *
 * @throws Error for code that no pattern covers, as in a new version of the package. Then extend the
 *   patterns.
 */
export function toModule(code: string, path: string): string {
  const names: string[] = [];
  const body = code
    .replace(/^"use strict";$/m, "")
    .replaceAll(/^var __\w+ = \(this [^]*?^\}\)?\)?;$/gm, "")
    .replace(/^Object\.defineProperty\(exports, "__esModule".*$/m, "")
    .replaceAll(/^exports\.\w+ = .*void 0;$/gm, "")
    // The byte order, without loading node:os.
    .replace(/^const os_1 = require\("os"\);$/m, "")
    .replace("(0, os_1.endianness)() === 'LE'", "new Uint8Array(Uint16Array.of(1).buffer)[0] === 1")
    .replaceAll(
      /^const (\w+) = (?:__importStar\()?require\("(.+?)"\)\)?;$/gm,
      'import * as $1 from "$2";',
    )
    .replaceAll(/^__exportStar\(require\("(.+?)"\), exports\);$/gm, 'export * from "$1";')
    .replaceAll(
      /^var (\w+);\n\(function \(\1\) \{\n([^]*?)^\}\)\(\1 = exports\.\1 \|\| \(exports\.\1 = \{\}\)\);$/gm,
      // An enumeration, made on first use. This project uses the numbers.
      "export const $1 = () => (($1) => {\n$2    return $1;\n})({});",
    )
    .replaceAll(
      /\bstructs\.putEnum\((\w+), ([\w.]+)\)/g,
      '(typeof $2 === "number" ? $2 : structs.putEnum($1(), $2))',
    )
    .replaceAll(/\bstructs\.getEnum\((\w+), /g, "structs.getEnum($1(), ")
    // A table of functions. The bundler takes its computed keys for code with side effects.
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

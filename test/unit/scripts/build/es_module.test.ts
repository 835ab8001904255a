import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { build } from "esbuild";
import { describe, expect, test } from "vitest";
import { toEsModule } from "../../../../scripts/build/es_module.ts";

const require = createRequire(import.meta.url);

describe("what TypeScript emits becomes an ES module", () => {
  test.for([
    ['"use strict";', ""],
    ['Object.defineProperty(exports, "__esModule", { value: true });', ""],
    ["exports.a = exports.b = void 0;", ""],
    ["exports.a = void 0;", ""],
    ["var __importStar = (this && this.__importStar) || function () {};", ""],
    ['const a = require("./a");', 'import * as a from "./a";'],
    ['const a = __importStar(require("./a"));', 'import * as a from "./a";'],
    ['__exportStar(require("./a"), exports);', 'export * from "./a";'],
    [
      "function a() { return exports.b + c.exports.d; }",
      "function a() { return b + c.exports.d; }",
    ],
    ["exports.a = a;", "export { a };"],
    ["exports.a = 8 + exports.b;", "export const a = 8 + b;"],
    ["const a = { [b.c]: exports.d };", "const a = /* @__PURE__ */ (() => ({ [b.c]: d }))();"],
  ])("%j", ([code = "", expected]) => {
    expect(toEsModule(code, "a.js")).toBe(expected);
  });
});

test("an enumeration is made when it is first needed", async () => {
  const code = [
    "var A;",
    "(function (A) {",
    '    A[A["B"] = 1] = "B";',
    "})(A = exports.A || (exports.A = {}));",
    "const put = (of, name) => of[name];",
    "function b() { return put(A, 'B'); }",
    "exports.b = b;",
  ].join("\n");
  const module = await load(toEsModule(code, "a.js"));
  expect(module["A"]).toEqual({ B: 1, 1: "B" });
  expect((module["b"] as () => number)()).toBe(1);
  const { outputFiles } = await build({
    stdin: { contents: toEsModule(code, "a.js").replace("export const A", "const A") },
    bundle: true,
    format: "esm",
    minifySyntax: true,
    write: false,
  });
  expect(outputFiles[0]?.text).toContain('"B"');
  expect(outputFiles[0]?.text).not.toMatch(/^(const|var|let) \w+ = A\$\(\)/m);
});

test.for([
  "module.exports = a;",
  "exports.a.b = 1;",
  "if (a) exports.b = 1;",
  "a();",
  "const { a } = b;",
  "(function () {})();",
  "export default a;",
])("%s is refused", (code) => {
  expect(() => toEsModule(code, "a.js")).toThrow(/a\.js/);
});

/** Evaluates an ES module. */
async function load(text: string): Promise<Readonly<Record<string, unknown>>> {
  const encoded = Buffer.from(text).toString("base64");
  return (await import(/* @vite-ignore */ `data:text/javascript;base64,${encoded}`)) as Record<
    string,
    unknown
  >;
}

/** A function's type alone: its text is the bundler's. */
function described(value: unknown): unknown {
  return typeof value === "function" ? "function" : value;
}

describe("netlink's", () => {
  test.for(["structs", "rt/ifla", "rt/gen_structs", "rt/structs"])(
    "%s exports the same",
    async (name) => {
      const { outputFiles } = await build({
        entryPoints: [`netlink/dist/${name}.js`],
        bundle: true,
        format: "esm",
        platform: "node",
        write: false,
        plugins: [
          {
            name: "es-module",
            setup(builder) {
              builder.onLoad({ filter: /netlink/ }, ({ path }) => ({
                contents: toEsModule(readFileSync(path, "utf8"), path),
              }));
            },
          },
        ],
      });
      const module = await load(outputFiles[0]?.text ?? "");
      const original = require(`netlink/dist/${name}.js`) as Record<string, unknown>;
      expect(Object.keys(module).toSorted()).toEqual(Object.keys(original).toSorted());
      for (const [key, value] of Object.entries(original)) {
        expect(described(module[key]), key).toEqual(described(value));
      }
    },
  );
});

/**
 * Turns a CommonJS module that TypeScript has emitted back into an ES module, of which a bundler can
 * leave out what nothing uses; of CommonJS it takes all or nothing.
 */
import {
  parseSync,
  Visitor,
  type CallExpression,
  type Expression,
  type Statement,
  type VariableDeclaration,
} from "oxc-parser";

/** A part of the text, and what takes its place. */
interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** What TypeScript emits for imports and exports. */
const HELPERS = new Set(["__createBinding", "__setModuleDefault", "__importStar", "__exportStar"]);

/**
 * @throws Error if a statement at the top is none that TypeScript emits, as in a new version of a
 *   package. Then add it here, with a test.
 */
export function toEsModule(code: string, path: string): string {
  const { program, errors } = parseSync(path, code, { sourceType: "script" });
  if (errors.length > 0) throw new Error(`Cannot parse ${path}: ${errors[0]?.message}`);
  const edits = program.body.flatMap((statement) => {
    const found = translate(statement);
    if (found !== undefined) return found;
    const text = code.slice(statement.start, statement.end).split("\n")[0];
    throw new Error(`${path}: scripts/build/es_module.ts does not know this statement: ${text}`);
  });
  const enumerations = new Set(program.body.flatMap(enumerationIn));
  new Visitor({
    CallExpression({ arguments: args }) {
      for (const argument of args) {
        if (argument.type !== "Identifier" || !enumerations.has(argument.name)) continue;
        edits.push(insert(argument.end, "$()"));
      }
    },
    MemberExpression(node) {
      const name = exportedName(node);
      const { start, end } = node;
      if (name !== undefined) edits.push({ start, end, text: name });
    },
  }).visit(program);
  return apply(code, edits);
}

/** The name that `var Name;` declares: the enumeration's itself follows. */
function enumerationIn(statement: Statement): readonly string[] {
  if (statement.type !== "VariableDeclaration") return [];
  return statement.declarations.flatMap(({ id, init }) =>
    id.type === "Identifier" && init === null ? [id.name] : [],
  );
}

/** A statement's edits, or undefined if it is an unknown one. */
function translate(statement: Statement): readonly Edit[] | undefined {
  const { start, end } = statement;
  const by = (text: string): readonly Edit[] => [{ start, end, text }];
  switch (statement.type) {
    case "FunctionDeclaration":
    case "ClassDeclaration":
      return [];
    case "VariableDeclaration": {
      const [{ id, init }] = statement.declarations as [VariableDeclaration["declarations"][0]];
      if (id.type !== "Identifier") return undefined;
      // An enumeration's name, or a helper for imports.
      if (init === null || HELPERS.has(id.name)) return by("");
      const from = requiredBy(init);
      if (from !== undefined) return by(`import * as ${id.name} from ${from};`);
      // Its keys are computed, which might have an effect.
      return init.type === "ObjectExpression" ? pure(init) : [];
    }
    case "ExpressionStatement": {
      const { expression } = statement;
      if (expression.type === "Literal") return by("");
      if (expression.type === "CallExpression") return translateCall(expression, by);
      if (expression.type !== "AssignmentExpression") return undefined;
      const { left, right } = expression;
      const name = exportedName(left);
      if (name === undefined) return undefined;
      // Names that get their values below.
      if (right.type === "AssignmentExpression" || right.type === "UnaryExpression") return by("");
      if (right.type === "Identifier" && right.name === name) return by(`export { ${name} };`);
      return [{ start, end: right.start, text: `export const ${name} = ` }];
    }
    default:
      return undefined;
  }
}

function translateCall(
  { callee, arguments: args, end }: CallExpression,
  by: (text: string) => readonly Edit[],
): readonly Edit[] | undefined {
  if (callee.type === "MemberExpression") {
    // Object.defineProperty(exports, "__esModule", ...)
    const [target] = args;
    return target?.type === "Identifier" && target.name === "exports" ? by("") : undefined;
  }
  if (callee.type === "Identifier") {
    const [module] = args;
    const from = module?.type === "CallExpression" ? requiredBy(module) : undefined;
    return callee.name === "__exportStar" && from !== undefined
      ? by(`export * from ${from};`)
      : undefined;
  }
  // (function (Name) { ... })(Name = exports.Name || (exports.Name = {})), an enumeration.
  const inner = callee.type === "ParenthesizedExpression" ? callee.expression : undefined;
  const [argument] = args;
  if (inner?.type !== "FunctionExpression" || inner.body === null) return undefined;
  if (argument?.type !== "AssignmentExpression" || argument.left.type !== "Identifier")
    return undefined;
  const { name } = argument.left;
  const made = `${name}$`;
  return [
    // Made when it is first needed: a start needs none.
    insert(callee.start, `let ${made}made; const ${made} = () => ${made}made ??= `),
    insert(inner.body.end - 1, `return ${name};`),
    { start: argument.start, end: argument.end, text: "{}" },
    insert(end, `\nexport const ${name} = /* @__PURE__ */ ${made}()`),
  ];
}

/** Marks what an expression's evaluation leaves no trace of. */
function pure({ start, end }: Expression): readonly Edit[] {
  return [insert(start, "/* @__PURE__ */ (() => ("), insert(end, "))()")];
}

function insert(at: number, text: string): Edit {
  return { start: at, end: at, text };
}

/** The module, in quotes, of `require("x")` or `__importStar(require("x"))`. */
function requiredBy(expression: Expression): string | undefined {
  if (expression.type !== "CallExpression" || expression.callee.type !== "Identifier")
    return undefined;
  const [argument] = expression.arguments;
  if (expression.callee.name === "require" && argument?.type === "Literal") {
    return JSON.stringify(argument.value);
  }
  const isImport = expression.callee.name === "__importStar";
  return isImport && argument?.type === "CallExpression" ? requiredBy(argument) : undefined;
}

/** The x of `exports.x`. */
function exportedName(node: { readonly type: string }): string | undefined {
  const { object, property } = node as Partial<
    Record<"object" | "property", { name?: string; type: string }>
  >;
  const isExport = object?.type === "Identifier" && object.name === "exports";
  return node.type === "MemberExpression" && isExport ? property?.name : undefined;
}

/** Edits the text. Of edits in each other, the outer one holds. */
function apply(code: string, edits: readonly Edit[]): string {
  let at = 0;
  let text = "";
  for (const edit of edits.toSorted((a, b) => a.start - b.start || b.end - a.end)) {
    if (edit.start < at) continue;
    text += code.slice(at, edit.start) + edit.text;
    at = edit.end;
  }
  return text + code.slice(at);
}

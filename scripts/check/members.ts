/**
 * Finds public members of classes that nothing uses: knip sees exports, and the compiler what is
 * private. By name alone: a member counts as used if a member of that name is used anywhere.
 */
import { globSync, readFileSync } from "node:fs";
import { parseSync, Visitor, type PropertyKey } from "oxc-parser";

/** What one file declares and uses. */
export interface Members {
  readonly declared: readonly { readonly place: string; readonly name: string }[];
  readonly used: ReadonlySet<string>;
}

if (import.meta.main) {
  // What only tests use is of no use in the product.
  const product = globSync("{plugins,tools,daemons,shared}/**/*.ts").map(read);
  const tooling = globSync("{scripts,test}/**/*.ts").map(read);
  const unused = [...unusedIn(product), ...unusedIn([...product, ...tooling])];
  if (unused.length > 0) console.log([...new Set(unused)].join("\n"));
  process.exitCode = unused.length > 0 ? 1 : 0;
}

function read(file: string): Members {
  return membersOf(file, readFileSync(file, "utf8"));
}

/** The members of some files that nothing in these files uses, a line each. */
export function unusedIn(files: readonly Members[]): readonly string[] {
  const used = new Set(files.flatMap((file) => [...file.used]));
  return files
    .flatMap(({ declared }) => declared)
    .filter(({ name }) => !used.has(name))
    .map(({ place, name }) => `${place}: nothing uses the member ${name}`);
}

/** Reads a file's text. */
export function membersOf(file: string, text: string): Members {
  const declared: { readonly place: string; readonly name: string }[] = [];
  const used = new Set<string>();
  const set = new Set<object>();
  const declare = (key: PropertyKey, { start }: { readonly start: number }): void => {
    const name = nameOf(key);
    const line = text.slice(0, start).split("\n").length;
    if (name !== undefined) declared.push({ place: `${file}:${line}`, name });
  };
  const use = (key: PropertyKey): void => {
    const name = nameOf(key);
    if (name !== undefined) used.add(name);
  };
  new Visitor({
    MethodDefinition(node) {
      // What overrides another member is called by that one's name.
      const isOwn = !node.computed && node.override !== true;
      if (isOwn && (node.kind === "method" || node.kind === "get")) declare(node.key, node);
    },
    PropertyDefinition(node) {
      if (!node.computed && node.override !== true) declare(node.key, node);
    },
    AssignmentExpression(node) {
      // A value that is only set is not used.
      if (node.operator === "=") set.add(node.left);
    },
    MemberExpression(node) {
      const isName = !node.computed || node.property.type === "Literal";
      if (isName && !set.has(node)) use(node.property);
    },
    CallExpression(node) {
      // A method can be called by its name, through a function that takes it.
      for (const argument of node.arguments) if (argument.type === "Literal") use(argument);
    },
    ObjectPattern(node) {
      for (const property of node.properties) {
        if (property.type === "Property") use(property.key);
      }
    },
  }).visit(parseSync(file, text).program);
  return { declared, used };
}

function nameOf(key: PropertyKey): string | undefined {
  if (key.type === "Identifier") return key.name;
  return key.type === "Literal" && typeof key.value === "string" ? key.value : undefined;
}

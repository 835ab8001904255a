/**
 * Finds names that say nothing of what they name: a pronoun, or a word of everyday speech where the
 * field has its own. Looks at declarations, and not at the keys of objects, which may be another
 * program's.
 */
import { globSync, readFileSync } from "node:fs";
import { parseSync, Visitor, type Node } from "oxc-parser";

const whatItIs = "what it is (peer, record, route), or a and b where two are compared";

/** What to write in the place of a name. */
const better: ReadonlyMap<string, string> = new Map([
  ...["one", "ones", "other", "others", "mine", "theirs", "thing", "things"].map(
    (name) => [name, whatItIs] as const,
  ),
  ["of", "attachment, owner or another noun"],
  ["there", "present"],
  ["instead", "alternative"],
  ["around", "env or context"],
  ["surroundings", "env or context"],
  ["said", "output, message or warnings"],
  ["says", "message"],
  ["held", "builtin, owner or locked"],
  ["seal", "handler"],
]);

if (import.meta.main) {
  const files = globSync("{plugins,tools,daemons,shared,scripts,test}/**/*.ts");
  const found = files.flatMap((file) => refusedNames(file, readFileSync(file, "utf8")));
  if (found.length > 0) console.log(found.join("\n"));
  process.exitCode = found.length > 0 ? 1 : 0;
}

/** The refused names that a file declares, a line each. */
export function refusedNames(file: string, text: string): readonly string[] {
  const found: string[] = [];
  const declare = (node: Node | null): void => {
    for (const { name, start } of namesIn(node)) {
      const instruction = better.get(name);
      if (instruction === undefined) continue;
      const line = text.slice(0, start).split("\n").length;
      found.push(`${file}:${line}: ${name} must be ${instruction}`);
    }
  };
  const declareAll = ({ id, params }: { id: Node | null; params: readonly Node[] }): void => {
    for (const node of [id, ...params]) declare(node);
  };
  new Visitor({
    VariableDeclarator: ({ id }) => declare(id),
    FunctionDeclaration: declareAll,
    FunctionExpression: declareAll,
    ArrowFunctionExpression: declareAll,
    TSFunctionType: ({ params }) => declareAll({ id: null, params }),
    CatchClause: ({ param }) => declare(param),
    PropertyDefinition: ({ key }) => declare(key),
    MethodDefinition: ({ key }) => declare(key),
    TSPropertySignature: ({ key }) => declare(key),
    TSMethodSignature: ({ key, params }) => declareAll({ id: key, params }),
  }).visit(parseSync(file, text).program);
  return found;
}

/** The identifiers that a pattern or a member's key declares. */
function namesIn(node: Node | null): readonly { readonly name: string; readonly start: number }[] {
  switch (node?.type) {
    case "Identifier":
    case "PrivateIdentifier":
      return [node];
    case "ObjectPattern":
      return node.properties.flatMap((property) =>
        namesIn(property.type === "Property" ? property.value : property),
      );
    case "ArrayPattern":
      return node.elements.flatMap((element) => namesIn(element));
    case "AssignmentPattern":
      return namesIn(node.left);
    case "RestElement":
      return namesIn(node.argument);
    case "TSParameterProperty":
      return namesIn(node.parameter);
    default:
      return [];
  }
}

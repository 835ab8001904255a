/**
 * The unit tests mirror the code: `test/unit/DIR/NAME.test.ts` tests `DIR/NAME.ts`, `DIR/NAME.sh`, or all of
 * the folder `DIR/NAME/`. Several tests of one file are `NAME_ASPECT.test.ts`. What tests share is in a folder
 * that mirrors one.
 */
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const UNIT = "test/unit";

/** Tests of many files at once. */
const WITHOUT_SOURCE = new Set(["test/unit/fuzz"]);

/** What is wrong with the places of some files of test/unit, a line each. */
export function mirrorProblems(
  files: readonly string[],
  exists: (path: string) => boolean = existsSync,
): readonly string[] {
  return files.flatMap((file) => {
    const folder = dirname(file);
    if (folder === UNIT && !file.endsWith(".test.ts")) return [];
    if (WITHOUT_SOURCE.has(folder)) return [];
    const mirrored = folder.slice(UNIT.length + 1);
    if (!file.endsWith(".test.ts")) {
      return exists(mirrored) ? [] : [`${file}: there is no folder ${mirrored}`];
    }
    const name = basename(file, ".test.ts");
    const candidates = prefixesOf(name).flatMap((prefix) => {
      const path = join(mirrored, prefix);
      return [`${path}.ts`, `${path}.sh`, path];
    });
    const [first = ""] = candidates;
    return candidates.some(exists) ? [] : [`${file}: there is no ${first} that it tests`];
  });
}

/** "a_b_c" → "a_b_c", "a_b", "a". */
function prefixesOf(name: string): readonly string[] {
  const parts = name.split("_");
  return parts.map((_, at) => parts.slice(0, parts.length - at).join("_"));
}

/**
 * A table of inputs, run on our plugins and on the reference's, each row in fresh namespaces of its
 * own. Both answers must be equal, except for random names and MACs and the line break at the end. So
 * must be the state that a successful ADD leaves, and what CHECK and DEL do afterwards. A row names its
 * differences, docs/compatibility.md the reasons. Messages are not compared.
 *
 * The rows hold for Debian's 1.1.1. With a newer reference in REFERENCE_CNI_BIN, answers are compared
 * as JSON, and a difference may be absent if its reason in docs/compatibility.md names a version.
 */
import { afterAll, beforeAll, describe, expect } from "vitest";
import { binDir, createSandbox, referenceDir, type Sandbox } from "../../helpers/cni.ts";
import { testSome } from "../../helpers/form.ts";
import { DOCUMENTED, ERRORS, newReference, VARYING, withoutTraces } from "./known.ts";
import {
  makeSide,
  play,
  type Aspect,
  type Differences,
  type Kind,
  type Outcome,
  type Row,
  type Side,
} from "./play.ts";

/** Rows by name. */
export type Rows = Readonly<Record<string, Row>>;

/** How many sandboxes there are for a plugin whose calls must not run at the same time in one. */
const LANES = 3;

/** Declares a test for each row. */
export function compare(what: string, plugin: string, kind: Kind, rows: Rows): void {
  describe.concurrent(`${what} and the reference`, () => {
    const sandboxes: Sandbox[] = [];
    let sides: readonly Side[] = [];
    beforeAll(async () => {
      sides = await Promise.all(
        [binDir(), referenceDir()].map(async (bin) => {
          const count = kind === "one at a time" ? LANES : 1;
          const own = await Promise.all(Array.from({ length: count }, createSandbox));
          sandboxes.push(...own);
          return makeSide(bin, own, Object.keys(rows).length, kind);
        }),
      );
    });
    afterAll(async () => {
      await Promise.all(sandboxes.map(async (sandbox) => sandbox.close()));
    });

    const entries = Object.entries(rows).map(([name, row], number) => ({ name, row, number }));
    testSome(
      entries,
      4,
      2,
    )("$name", async ({ row, number }) => {
      const [ours, reference] = await Promise.all(
        sides.map(async (side) => play(side, plugin, row, number)),
      );
      if (ours === undefined || reference === undefined) throw new Error("There are no two sides");
      const context = `ours: ${ours.output}\nreference: ${reference.output}`;
      const [code, ofReference] = row.fails ?? [0, 0];
      expect(ours.code, context).toBe(code);
      const reasons = [...Object.values(row.differs ?? {}), ...(row.varies ?? [])];
      const varies = newReference && reasons.some((why) => VARYING.has(why));
      if (!varies) expect(reference.code, context).toBe(ofReference);
      if (varies && ours.code !== reference.code) return;
      judge(row.differs ?? {}, ours, reference, context);
    });
  });
}

function judge(differs: Differences, ours: Outcome, reference: Outcome, context: string): void {
  for (const why of Object.values(differs)) {
    expect(DOCUMENTED, "the rows of docs/compatibility.md").toContain(why);
  }
  if (ours.code !== 0 && reference.code !== 0) {
    if (!newReference) expect(differs, "both fail").toEqual({});
    if (ours.code !== reference.code) expect(DOCUMENTED).toContain(ERRORS);
    return;
  }
  if (ours.code !== 0 || reference.code !== 0) {
    expect(Object.keys(differs), `one fails\n${context}`).toEqual(["answer"]);
    return;
  }
  const aspects = Object.keys({ ...ours.texts, ...reference.texts, ...differs });
  for (const aspect of aspects as Aspect[]) {
    const [actual, expected, why] = [ours.texts[aspect], reference.texts[aspect], differs[aspect]];
    if (why === undefined) {
      expect(actual, `${aspect}\n${context}`).toBe(expected);
      continue;
    }
    if (newReference && VARYING.has(why) && actual === expected) continue;
    expect(actual, `${aspect} is equal: there is no difference by "${why}"`).not.toBe(expected);
    expect(withoutTraces(actual ?? "", why), aspect).toBe(withoutTraces(expected ?? "", why));
  }
}

/**
 * One table of inputs, run on our plugins and on the reference's, each row in equal fresh
 * namespaces. What both answer has to be equal byte by byte, apart from the names and MACs that are
 * drawn and the line break at the end; so has the state that a good ADD leaves, and what CHECK and
 * DEL make of it. A row says what is different, docs/compatibility.md why. Messages are not compared.
 */
import { afterAll, beforeAll, describe, expect } from "vitest";
import { binDir, createSandbox, referenceDir, type Sandbox } from "../../helpers/cni.ts";
import { testSome } from "../../helpers/form.ts";
import { DOCUMENTED, ERRORS, withoutTraces } from "./known.ts";
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

/** By what is special about each. */
export type Rows = Readonly<Record<string, Row>>;

/** Sandboxes of a plugin of which only one call may run at a time in each. */
const LANES = 3;

/** Makes a test of each row. */
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
    testSome(entries)("$name", async ({ row, number }) => {
      const [ours, reference] = await Promise.all(
        sides.map(async (side) => play(side, plugin, row, number)),
      );
      if (ours === undefined || reference === undefined) throw new Error("There are no two sides");
      const context = `ours: ${ours.said}\nreference: ${reference.said}`;
      expect([ours.code, reference.code], context).toEqual(row.fails ?? [0, 0]);
      judge(row.differs ?? {}, ours, reference, context);
    });
  });
}

function judge(differs: Differences, ours: Outcome, reference: Outcome, context: string): void {
  for (const why of Object.values(differs)) {
    expect(DOCUMENTED, "the rows of docs/compatibility.md").toContain(why);
  }
  if (ours.code !== 0 && reference.code !== 0) {
    expect(differs, "both fail").toEqual({});
    if (ours.code !== reference.code) expect(DOCUMENTED).toContain(ERRORS);
    return;
  }
  if (ours.code !== 0 || reference.code !== 0) {
    expect(Object.keys(differs), `one fails\n${context}`).toEqual(["answer"]);
    return;
  }
  const aspects = Object.keys({ ...ours.texts, ...reference.texts, ...differs });
  for (const aspect of aspects as Aspect[]) {
    const [one, other, why] = [ours.texts[aspect], reference.texts[aspect], differs[aspect]];
    if (why === undefined) {
      expect(one, `${aspect}\n${context}`).toBe(other);
      continue;
    }
    expect(one, `${aspect} is equal: there is no difference by "${why}"`).not.toBe(other);
    expect(withoutTraces(one ?? "", why), aspect).toBe(withoutTraces(other ?? "", why));
  }
}

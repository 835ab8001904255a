import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { DeltaTable, type Comparison } from "../../../../daemons/flanneld/delta_table.ts";

const key = fc.integer({ min: 0, max: 6 });
const value = fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined });
const anyStep = fc.oneof(
  fc.record({ kind: fc.constant("want" as const), key, value }),
  fc.record({ kind: fc.constant("learn" as const), key, value }),
  fc.record({
    kind: fc.constant("learn-all" as const),
    all: fc.uniqueArray(fc.tuple(key, fc.integer({ min: 0, max: 3 })), {
      selector: ([first]) => first,
    }),
  }),
);

function put(map: Map<number, number>, at: number, now: number | undefined): void {
  if (now === undefined) map.delete(at);
  else map.set(at, now);
}

/** What is wanted is made as it is, but for 3, which cannot be made now and is right if nothing is there. */
const exact: Comparison<number, number> = {
  isRight: ({ wanted, present }) => made(wanted) === present,
  made,
  isAsMade: (wanted, present) => wanted === present,
};

function made(wanted: number | undefined): number | undefined {
  return wanted === 3 ? undefined : wanted;
}

function table(): DeltaTable<number, number, number> {
  return new DeltaTable(exact);
}

describe("a delta table", () => {
  it("has pending what differs, and nothing else, whatever it is told", () => {
    fc.assert(
      fc.property(fc.array(anyStep), (steps) => {
        const deltas = table();
        const wanted = new Map<number, number>();
        let present = new Map<number, number>();
        for (const step of steps) {
          if (step.kind === "learn-all") {
            present = new Map(step.all);
            deltas.learnAll(present);
          } else if (step.kind === "want") {
            put(wanted, step.key, step.value);
            deltas.want(step.key, step.value);
          } else {
            put(present, step.key, step.value);
            deltas.learn(step.key, step.value);
          }
        }
        const keys = [...new Set([...wanted.keys(), ...present.keys()])];
        const differing = keys.filter((at) => made(wanted.get(at)) !== present.get(at));
        expect(new Set(deltas.pending)).toEqual(new Set(differing));
        expect(new Map(deltas.wanted())).toEqual(wanted);
        for (const at of keys) {
          expect(deltas.get(at)).toEqual({ wanted: wanted.get(at), present: present.get(at) });
        }
      }),
    );
  });

  it("makes what is there what is wanted, when every pending key is done", () => {
    fc.assert(
      fc.property(fc.array(anyStep), (steps) => {
        const deltas = table();
        for (const step of steps) {
          if (step.kind === "learn-all") deltas.learnAll(new Map(step.all));
          else deltas[step.kind](step.key, step.value);
        }
        for (const at of deltas.pending) deltas.learn(at, made(deltas.wantedAt(at)));
        expect([...deltas.pending]).toEqual([]);
      }),
    );
  });

  it("releases what is wanted, and not what another wants by now", () => {
    const deltas = table();
    deltas.want(1, 5);
    deltas.release(1, 4);
    expect(deltas.get(1)?.wanted).toBe(5);
    deltas.release(1, 5);
    expect(deltas.get(1)).toBeUndefined();
  });

  it("judges anew when it is told to", () => {
    let tolerance = 0;
    const deltas = new DeltaTable<number, number, number>({
      isRight: ({ wanted = 0, present = 0 }) => Math.abs(wanted - present) <= tolerance,
      made: (wanted) => wanted + tolerance,
      isAsMade: (wanted, present) => present === wanted + tolerance,
    });
    deltas.want(1, 2);
    deltas.learn(1, 3);
    deltas.want(2, 7);
    deltas.learn(2, 7);
    expect([...deltas.pending]).toEqual([1]);
    deltas.reviewAfter(() => {
      tolerance = 1;
    });
    expect([...deltas.pending]).toEqual([]);
    // What was there as it was made is there all the same where it would be made differently now.
    expect([1, 2].map((at) => deltas.get(at)?.present)).toEqual([3, 7]);
  });
});

/** Hostile input: well-formed samples with random changes, by a seeded generator. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";

import { asCniError, Code } from "../../../shared/cni/error.ts";
import { NetError } from "../../../shared/net/error.ts";
import type { Json } from "../../../shared/base/json.ts";

/** Cases of each target: few in `make test`, FUZZ_CASES in `make soak`. */
const runs = Number(process.env["FUZZ_CASES"] ?? 1000);
const seed = Number(process.env["FUZZ_SEED"] ?? 20_260_101);
/** Milliseconds that one input may take. */
const timeLimit = 1000;

/** Inputs that once broke something, in a folder per target. */
const seedFolder = join(import.meta.dirname, "../../fuzz/seeds");

/** Texts that mean something in some format. */
const words = [
  ...['"', "\\", "'", ";", ",", ":", "/", "..", "../../etc", "{", "}", "[", "]", "=", "#", "$(id)"],
  ...[
    "\n",
    "\r\n",
    "\0",
    "\t",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\u{d800}",
    "😀",
    "ß".repeat(300),
  ],
  ...["0", "-1", "1e999", "0x10", "4294967296", "18446744073709551616", "010", "٣", "NaN", "null"],
  ...["10.0.0.0/33", "::/0", "::ffff:1.2.3.4", "fe80::1%eth0", "1.2.3", "256.1.1.1", "/", "1/2/3"],
  ...["-j", "-A X", "COMMIT", "--comment", "*nat", ":A - [0:0]", "comment", "# handle 7"],
  ...[
    "__proto__",
    "constructor",
    "toString",
    "length",
    "export ",
    "FLANNEL_MTU=",
    "a".repeat(5000),
  ],
];

const edit = fc.record({
  at: fc.nat(10_000),
  gone: fc.oneof(fc.constant(0), fc.nat(12)),
  word: fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 6, unit: "binary" })),
});

/** One of `samples` with a few changes. */
export function likeTexts(samples: readonly string[]): fc.Arbitrary<string> {
  return fc
    .tuple(fc.constantFrom(...samples), fc.array(edit, { maxLength: 5 }))
    .map(([sample, edits]) =>
      edits.reduce((text, { at, gone, word }) => {
        const from = at % (text.length + 1);
        return text.slice(0, from) + word + text.slice(from + gone);
      }, sample),
    );
}

const hostileValue: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(null, true, false, "", [], {}, 0, -1, 1e308, 2 ** 53, 0.5),
  fc.constantFrom(...words),
  fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json>,
);

/** One of `samples` with other values in some places. */
export function likeValues(samples: readonly Json[]): fc.Arbitrary<Json> {
  const change = fc.record({ path: fc.array(fc.nat(9), { maxLength: 6 }), value: hostileValue });
  return fc
    .tuple(fc.constantFrom(...samples), fc.array(change, { maxLength: 4 }))
    .map(([sample, changes]) =>
      changes.reduce(
        (value, { path, value: replacement }) => replaced(value, path, replacement),
        sample,
      ),
    );
}

function replaced(value: Json, [step, ...rest]: readonly number[], replacement: Json): Json {
  if (step === undefined || typeof value !== "object" || value === null) return replacement;
  const entries = Object.entries(value);
  if (entries.length === 0) return replacement;
  const chosen = step % entries.length;
  const changed = entries.map(([key, old], at): [string, Json] => [
    key,
    at === chosen ? replaced(old as Json, rest, replacement) : (old as Json),
  ]);
  return Array.isArray(value) ? changed.map(([, child]) => child) : Object.fromEntries(changed);
}

/** One of `samples` with a few bytes changed; some are cut short. */
export function likeBytes(samples: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const change = fc.record({
    at: fc.nat(5000),
    byte: fc.oneof(fc.constantFrom(0, 1, 2, 4, 16, 127, 255), fc.nat(255)),
  });
  return fc
    .tuple(fc.constantFrom(...samples), fc.array(change, { maxLength: 6 }), fc.nat(20))
    .map(([sample, changes, cut]) => {
      const bytes = Buffer.from(cut < 4 ? sample.subarray(0, sample.length - cut) : sample);
      for (const { at, byte } of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
      return bytes;
    });
}

/** Lets through what is refused as it should be. */
export function refused(
  run: () => void,
  ...kinds: readonly (abstract new (
    ...args: never[]
  ) => Error)[]
) {
  try {
    run();
  } catch (error) {
    if (!kinds.some((kind) => error instanceof kind)) throw error;
  }
}

/** Runs a target on many inputs, and on those that once broke it. It may only throw an error with a code. */
export function fuzz<T>(
  name: string,
  inputs: fc.Arbitrary<T>,
  read: (input: T) => unknown,
  fromSeed: (text: string) => T,
): void {
  it(`${name} takes anything`, { timeout: 3_600_000 }, () => {
    let cases = 0;
    for (const text of seedsOf(name)) attempt(read, fromSeed(text));
    fc.assert(
      fc.property(inputs, (input) => {
        cases++;
        attempt(read, input);
      }),
      { numRuns: runs, seed },
    );
    expect(cases).toBe(runs);
    console.log(`fuzz cases of ${name}: ${cases}`);
  });
}

function attempt<T>(read: (input: T) => unknown, input: T): void {
  // Another program may have had the processor. Only what is slow every time counts.
  for (let tries = 1; tries <= 3; tries++) {
    const started = performance.now();
    judge(read, input);
    if (performance.now() - started < timeLimit) return;
  }
  throw new Error(`over ${String(timeLimit)} ms for one input`);
}

function judge<T>(read: (input: T) => unknown, input: T): void {
  try {
    read(input);
  } catch (error) {
    if (error instanceof NetError) return;
    const { code, message, details } = asCniError(error);
    expect(code).not.toBe(Code.Internal);
    expect(message).toMatch(/^[A-Z].*\.$/s);
    expect(details).not.toBe("");
    // A whole config must not end up in kubelet's log.
    expect(message.length).toBeLessThan(2000);
  }
}

function seedsOf(name: string): string[] {
  const folder = join(seedFolder, name.replaceAll(/\W+/g, "-"));
  try {
    return readdirSync(folder).map((file) => readFileSync(join(folder, file), "utf8"));
  } catch {
    return [];
  }
}

/**
 * What each module costs at a start, for both builds: medians of many starts without a command. The
 * bundle is built with a reading of the clock before each module.
 *
 *   profile.ts [--runs N] [--out FILE]    prints a table, writes JSON
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { execa } from "execa";

import { quantile } from "./figures.ts";
import { bun, bunArguments } from "../build/bun.ts";
import { optionsOf, secondBundles, type Runtime } from "../build/bundle.ts";
import { print } from "../terminal.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "60" },
    out: { type: "string", default: "dist/bench/start-up.json" },
  },
});

/** Milliseconds. Modules that take less are left out of the table. */
const little = 0.01;

/** The first lines of the bundle. */
const clock = `const marks = [];
function mark(file) { marks.push([file, performance.now()]); }
process.on("exit", () => { mark("end"); console.log(JSON.stringify(marks)); });
mark("the clock itself")`;

type Marks = readonly (readonly [file: string, time: number])[];

interface Profile {
  readonly runtime: Runtime;
  readonly runs: number;
  /** Milliseconds from the runtime's start to our first line, by its own clock. */
  readonly runtimeStart: number;
  /** Each module, then the call itself, which prints what the executable is. */
  readonly ours: number;
  readonly modules: readonly { readonly file: string; readonly time: number }[];
}

mkdirSync("dist", { recursive: true });
const folder = mkdtempSync("dist/.profile-");
try {
  const profiles: Profile[] = [];
  if (bun !== undefined) profiles.push(await profile("bun"));
  profiles.push(await profile("node"));
  for (const entry of profiles) print(tableOf(entry));
  mkdirSync(dirname(values.out), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify(profiles, undefined, 1)}\n`);
  print(`${values.out} has all of it.`);
} finally {
  rmSync(folder, { recursive: true });
}

async function profile(runtime: Runtime): Promise<Profile> {
  const command = await instrumented(runtime);
  const starts: Marks[] = [];
  const runs = Number(values.runs);
  for (let run = -2; run < runs; run++) {
    const { stdout } = await execa(command[0] ?? "", command.slice(1), {
      reject: false,
      stdin: "ignore",
      env: { PATH: process.env["PATH"] },
      extendEnv: false,
    });
    // The first runs fill the page cache.
    if (run >= 0) starts.push(JSON.parse(stdout) as Marks);
  }
  const [first = []] = starts;
  const between = (from: number, to: number): number =>
    quantile(
      starts.map((marks) => (marks[to]?.[1] ?? 0) - (marks[from]?.[1] ?? 0)),
      0.5,
    );
  const modules = first
    .slice(0, -1)
    .map(([file], at) => ({ file, time: between(at, at + 1) }))
    .toSorted((a, b) => b.time - a.time);
  return {
    runtime,
    runs,
    runtimeStart: quantile(
      starts.map((marks) => marks[0]?.[1] ?? 0),
      0.5,
    ),
    ours: between(0, first.length - 1),
    modules,
  };
}

/** @returns the command that runs the bundle with clock readings. */
async function instrumented(runtime: Runtime): Promise<readonly string[]> {
  const script = join(folder, `${runtime}.cjs`);
  const options = optionsOf(`plugins/main_${runtime}.ts`, script, runtime);
  // Loaded from node_modules; in the executable it is an asset.
  const alias = runtime === "node" ? {} : (options.alias ?? {});
  await build({ ...options, alias, minify: false });
  const code = readFileSync(script, "utf8")
    // esbuild writes a comment with the file's name where its code begins.
    .replaceAll(/^\/\/ ((?:plugins|shared|schemas|node_modules)\/.*)$/gm, 'mark("$1");')
    .replace(/^("use strict";)?/, `$1${clock};`);
  writeFileSync(script, code);
  if (runtime === "node" || bun === undefined) return [process.execPath, script];
  const product = join(folder, "flannel");
  // No tool and no daemon is called.
  for (const file of secondBundles) writeFileSync(join(folder, file), "");
  await execa(bun, [...bunArguments, script, `--outfile=${product}`]);
  return [product];
}

function tableOf({ runtime, runs, runtimeStart, ours, modules }: Profile): string {
  return [
    `${runtime}, ms (medians of ${runs} starts)`,
    line(runtimeStart, "the runtime, until our first line"),
    line(ours, "ours, of that:"),
    ...modules
      .filter(({ time }) => time >= little)
      .map(({ file, time }) =>
        line(time, `  ${file}${file.includes("/main_") ? ", and the call" : ""}`),
      ),
    "",
  ].join("\n");
}

function line(time: number, what: string): string {
  return `${time.toFixed(2).padStart(8)}  ${what}`;
}

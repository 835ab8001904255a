/**
 * Compares the plugins with the reference plugins, and with the floor: the same work in a process that
 * has done it before. Everything runs in namespaces of its own.
 *
 *   main.ts [--quick] [--only WORDS]... [--bin FOLDER] [--out FILE]
 *       measures: prints each row as it is measured, then a table, and writes JSON
 *   main.ts --docs [--out FILE]                     puts that file's figures into the docs
 *
 * REFERENCE_CNI_BIN names another folder to compare with, GO_FLANNELD the Go program's flanneld.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { updateDocs } from "./docs.ts";
import type { DaemonRow, Row, Run } from "./figures.ts";
import { daemonScenarios, measureDaemon } from "./flanneld.ts";
import { doctorScenario, measureDoctor } from "./full_node.ts";
import { hasPlugin, measure } from "./measure.ts";
import type { Folders } from "./measure.ts";
import { scenarios } from "./scenarios.ts";
import { daemonLineOf, lineOf, tableOf } from "./table.ts";
import { print } from "../terminal.ts";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", multiple: true },
    bin: { type: "string", default: "dist/bin" },
    out: { type: "string" },
    docs: { type: "boolean", default: false },
  },
});
const out = values.out ?? "dist/bench/bench.json";
const referenceFolder = resolve(process.env["REFERENCE_CNI_BIN"] ?? "/usr/lib/cni");

try {
  if (values.docs) await updateDocs(JSON.parse(readFileSync(out, "utf8")) as Run);
  else await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const ours = resolve(values.bin);
  if (!hasPlugin(referenceFolder, "bridge")) {
    throw new Error(
      `Cannot compare with ${referenceFolder}: there is no bridge. Install containernetworking-plugins, or set REFERENCE_CNI_BIN.`,
    );
  }
  const { folders, skipped } = sidesOf(ours);
  const chosen = scenarios.filter(isChosen);
  const chosenDaemons = daemonScenarios.filter(isChosen);
  const rows: Row[] = [];
  const daemons: DaemonRow[] = [];
  const all = chosen.length + chosenDaemons.length;
  const [load = 0] = loadavg();
  for (const [at, scenario] of chosen.entries()) {
    const rounds = values.quick
      ? scenario.rounds.quick || Math.ceil(scenario.rounds.full / 5)
      : scenario.rounds.full;
    const found = await measure(scenario, rounds, folders, (done, total) => {
      progress(`${at + 1}/${all} ${scenario.name}: round ${done} of ${total}`);
    });
    rows.push(...found);
    show(found.map(lineOf));
    // After each scenario, so that an interrupted run is not lost.
    save(runOf(rows, daemons, load, skipped));
  }
  for (const [at, scenario] of chosenDaemons.entries()) {
    const where = `${chosen.length + at + 1}/${all} ${scenario.name}`;
    progress(where);
    const found = await measureDaemon(scenario, ours, values.quick, (done, total) => {
      progress(`${where}: round ${done} of ${total}`);
    });
    daemons.push(...found);
    show(found.map(daemonLineOf));
    save(runOf(rows, daemons, load, skipped));
  }
  if (isNamed(doctorScenario)) {
    const found = await measureDoctor(ours, values.quick ? 1 : 5, progress);
    rows.push(found);
    show([lineOf(found)]);
    save(runOf(rows, daemons, load, skipped));
  }
  progress("");
  print("");
  print(tableOf(runOf(rows, daemons, load, skipped)));
  print(`\n${out} has all of it.`);
}

function isNamed(name: string): boolean {
  return values.only?.some((words) => name.includes(words)) !== false;
}

function isChosen({ name, rounds }: (typeof scenarios | typeof daemonScenarios)[number]): boolean {
  if (values.only !== undefined) return isNamed(name);
  return !values.quick || rounds.quick > 0;
}

/** The executables of each side, and why there are none of the others. */
function sidesOf(ours: string): { folders: Folders; skipped: readonly string[] } {
  const folders = { ours, reference: referenceFolder };
  const { status } = spawnSync(join(ours, "flannel"), ["agent", "--help"]);
  if (status !== 0) {
    return { folders, skipped: [`There are no figures with an agent: ${ours} has none.`] };
  }
  // Where the build puts them.
  const native = join(dirname(ours), "client", basename(ours));
  return hasPlugin(native, "flannel")
    ? { folders: { ...folders, agent: ours, native }, skipped: [] }
    : {
        folders: { ...folders, agent: ours },
        skipped: ["There are no figures of the native client: the build has made none."],
      };
}

/** What the reference is, by the version that a Go program has in it. */
function referenceName(): string {
  const program = readFileSync(join(referenceFolder, "bridge"), "latin1");
  const version = /\bmod\tgithub\.com\/containernetworking\/plugins\tv([\w.-]+)/.exec(program)?.[1];
  const byDefault =
    process.env["REFERENCE_CNI_BIN"] === undefined ? "Debian's Go plugins" : undefined;
  return version === undefined ? (byDefault ?? "other Go plugins") : `the Go plugins ${version}`;
}

function runOf(
  rows: readonly Row[],
  daemons: readonly DaemonRow[],
  load: number,
  skipped: readonly string[],
): Run {
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: {
      processor: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      kernel: release(),
      load,
    },
    reference: referenceName(),
    skipped,
    referenceHasFlannel: hasPlugin(referenceFolder, "flannel"),
    quick: values.quick,
    rows,
    daemons,
  };
}

function save(run: Run): void {
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, `${JSON.stringify(run, undefined, 1)}\n`);
}

/** Prints what has just been measured, with the time since the start. */
function show(lines: readonly string[]): void {
  progress("");
  const time = `${Math.round(performance.now() / 1000)} s`.padStart(6);
  for (const line of lines) print(`${time}  ${line}`);
}

/** On a terminal, prints a line that the next one replaces. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${text}`);
}

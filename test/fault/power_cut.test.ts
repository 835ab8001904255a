/**
 * A power cut between any two operations on files. strace records those of ADD and DEL of flannel and
 * host-local. Then every possible state of the disk is tried: with the operations up to any one, as a
 * journal keeps them, and with any of them lost; with what was written whole, by half, as zeros or
 * missing.
 */
import { rmSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findState, sweepStates } from "../../plugins/flannel/state.ts";
import { trace, type SystemCall } from "../lab/strace.ts";
import { Node } from "../../shared/node/node.ts";
import { sys } from "../../shared/runtime/sys_node.ts";
import { temporaryFolder } from "../unit/temporary_folder.ts";
import { Host } from "../unit/plugins/host-local/host.ts";
import { filesAfter, operationsIn, putFiles, type Data, type Operation } from "./disk_log.ts";
import { isBun, soak } from "../helpers/form.ts";
import { callOf, SCENARIOS } from "./scenarios.ts";
import { POD, prepare } from "./wreck.ts";

const runs = soak ? 10_000 : isBun ? 100 : 10;
const DATA: readonly Data[] = ["whole", "half", "zeros", "nothing"];
const RESERVATIONS = "/var/lib/cni/networks/cbr0";
const STATES = "/var/lib/cni/flannel";
const BOOT = "boot-1 node-1";
const ipam = { ranges: [[{ subnet: "10.244.1.0/24" }], [{ subnet: "fd00:10:244:1::/64" }]] };
/** A pod from long before, whose files are on the disk. */
const NEIGHBOUR = "other\r\neth0";

let added: readonly SystemCall[] = [];
let deleted: readonly SystemCall[] = [];
let states = 0;

beforeAll(async () => {
  const scenario = SCENARIOS.find(({ name }) => name === "flannel");
  if (scenario === undefined) throw new Error("no scenario of flannel");
  const { node } = await prepare(scenario, "shared", false);
  await using _ = node;
  const add = await trace(node, callOf(scenario, 0, "ADD", POD));
  const prevResult = add.answer.json;
  const del = await trace(node, callOf(scenario, 0, "DEL", POD, { prevResult }));
  if (add.answer.code !== 0 || del.answer.code !== 0) {
    throw new Error(`${add.answer.stdout} ${del.answer.stdout}`);
  }
  added = add.calls;
  deleted = del.calls;
});

afterAll(() => {
  console.log(`states of the disk after a power cut: ${states}`);
});

/** A choice of the operations that reached the disk. */
interface Choice {
  readonly isKept: (at: number) => boolean;
  readonly dataOf: (at: number) => Data;
}

/** As a journal keeps them: names and attributes up to any point, data independently. */
function* journals(operations: readonly Operation[]): Generator<Choice> {
  for (let end = 0; end <= operations.length; end++) {
    for (const data of DATA) yield { isKept: (at) => at < end, dataOf: () => data };
  }
}

/** Any operations, chosen at random. */
function draws(operations: readonly Operation[]): Choice[] {
  const length = operations.length;
  const choice = fc.record({
    kept: fc.array(fc.boolean(), { minLength: length, maxLength: length }),
    data: fc.array(fc.constantFrom(...DATA), { minLength: length, maxLength: length }),
  });
  return fc.sample(choice, { numRuns: runs, seed: 20_260_101 }).map(({ kept, data }) => ({
    isKept: (at) => kept[at] === true,
    dataOf: (at) => data[at] ?? "whole",
  }));
}

const before = new Map([
  ["10.244.1.2", NEIGHBOUR],
  ["fd00:10:244:1::2", NEIGHBOUR],
  ["last_reserved_ip.0", "10.244.1.2"],
  ["lock", ""],
]);

/** Runs the plugins on a disk in such a state. */
async function readBack(operations: readonly Operation[], choice: Choice, isReboot: boolean) {
  states++;
  using host = new Host();
  const files = filesAfter(before, operations, choice.isKept, choice.dataOf);
  putFiles(host.folder, files, (path, key, value) => {
    host.node.setAttribute(path, key, key.endsWith("boot") ? BOOT : value);
  });
  for (const name of ["10.244.1.2", "fd00:10:244:1::2"]) {
    host.node.setAttribute(`${host.folder}/${name}`, "user.flannel-cni.boot", BOOT);
  }
  const whole = new Set(
    [...files].filter(([, { text }]) => text === "pod1\r\neth0").map(([name]) => name),
  );
  if (isReboot) host.node.bootId = "boot-2";
  await host.call("STATUS", { ipam });
  const given = (await host.add({ id: "new", ipam })).map((address) => address.split("/")[0] ?? "");
  expect(given).toHaveLength(2);
  if (!isReboot) {
    // No address is given twice if its reservation has reached the disk.
    expect(given).not.toContain("10.244.1.2");
    expect(given).not.toContain("fd00:10:244:1::2");
    expect(given.filter((address) => whole.has(address))).toEqual([]);
  }
  await host.call("DEL", { id: "pod1", ipam });
  await host.call("DEL", { id: "other", ipam });
  // Nothing is left: no address without an owner, and no temporary file.
  expect(host.reserved().toSorted()).toEqual(given.toSorted());
}

describe("after a power cut, host-local", () => {
  test.for([
    { verb: "ADD", isReboot: true },
    { verb: "ADD", isReboot: false },
    { verb: "DEL", isReboot: true },
    { verb: "DEL", isReboot: false },
  ])("reads back what $verb was doing (reboot: $isReboot)", { timeout: 3_600_000 }, async (row) => {
    const add = operationsIn(RESERVATIONS, added);
    const operations = row.verb === "ADD" ? add : [...add, ...operationsIn(RESERVATIONS, deleted)];
    expect(operations.length).toBeGreaterThan(row.verb === "ADD" ? 12 : 14);
    for (const choice of journals(operations)) await readBack(operations, choice, row.isReboot);
    for (const choice of draws(operations)) await readBack(operations, choice, row.isReboot);
  });
});

/** A state file that can be read is as it was written; otherwise it is known to be damaged. */
function readStates(operations: readonly Operation[], choice: Choice, text: string): void {
  states++;
  using folder = temporaryFolder();
  const node = new Node(sys);
  const files = filesAfter(new Map(), operations, choice.isKept, choice.dataOf);
  putFiles(folder.path, files, (...attribute) => {
    node.setAttribute(...attribute);
  });
  const pod = { containerId: POD.id, ifname: "eth0" };
  const state = findState(node, folder.path, pod, "cbr0");
  if (state?.config !== undefined) expect(JSON.stringify(state.config)).toBe(text);
  if (state !== undefined) rmSync(state.path);
  sweepStates(node, folder.path, pod);
  expect(findState(node, folder.path, pod, "cbr0")).toBeUndefined();
}

test("after a power cut, flannel reads its state back whole, or knows that it is damaged", () => {
  const operations = operationsIn(STATES, [...added, ...deleted]);
  expect(operations.length).toBeGreaterThan(5);
  const written = operations.find((operation) => operation.kind === "write");
  const text = written?.kind === "write" ? written.text : "";
  expect(JSON.parse(text)).toMatchObject({ type: "bridge" });
  for (const choice of journals(operations)) readStates(operations, choice, text);
  for (const choice of draws(operations)) readStates(operations, choice, text);
});

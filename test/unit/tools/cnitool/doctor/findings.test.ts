/** All of doctor's checks together. */
import { globSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { NotReady } from "../../../../../shared/preconditions/finding.ts";
import { findingsOf } from "../../../../../tools/cnitool/doctor/findings.ts";
import { range, viewOf } from "./view.ts";

it("a healthy node has no finding", () => {
  expect(findingsOf(viewOf())).toEqual([]);
});

it("a precondition that STATUS names as well is one finding, with the config's file in it", () => {
  const rangeSets = [range("10.244.1.0/24", "10.9.9.1", "10.244.1.1", "10.244.1.254")];
  const [own] = findingsOf(viewOf({ rangeSets }));
  if (own === undefined) throw new Error("no finding");
  const status = new NotReady({ ...own, fix: "correct the network config" });
  const chains = [{ chain: [{ type: "bridge", conf: {} }], problem: status }];
  expect(findingsOf(viewOf({ rangeSets, configs: { chains } }))).toEqual([own]);
});

it("errors come before warnings", () => {
  const findings = findingsOf(viewOf({ leftovers: 1, sysctls: { "net/ipv4/ip_forward": "0" } }));
  expect(findings.map(({ severity }) => severity)).toEqual(["error", "warning"]);
});

it("each finding is in the manual, and has a test", () => {
  const made = idsIn(read("{tools/cnitool/doctor,shared/preconditions}/**/*.ts"));
  const tested = idsIn(read("test/unit/tools/cnitool/doctor/checks/*.ts"));
  const manual = read("docs/doctor.md").matchAll(/^\| ([a-z]\w*-[a-z-]+) +\|/gm);
  expect(made.size).toBeGreaterThan(40);
  expect(tested).toEqual(made);
  expect(new Set([...manual].map(([, id]) => id))).toEqual(made);
});

/** The text of all files that a pattern names. */
function read(pattern: string): string {
  return globSync(pattern)
    .map((file) => readFileSync(file, "utf8"))
    .join("\n");
}

/** The ids of findings that a source names. */
function idsIn(text: string): Set<string> {
  const lines = [...text.matchAll(/\bid: (.*),$/gm)];
  return new Set(
    lines.flatMap(([, value = ""]) =>
      [...value.matchAll(/"([a-z]\w*-[a-z-]+)"/g)].map(([, id = ""]) => id),
    ),
  );
}

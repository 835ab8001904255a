/** The docs are true: links, tables and indexes. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { Code } from "../../shared/cni/error.ts";

const pages = globSync("{*.md,docs/**/*.md}");
const read = (file: string): string => readFileSync(file, "utf8");

describe("the faults in docs/compatibility.md", () => {
  const [, faults = ""] = read("docs/compatibility.md").split("## Faults that users");
  const tags = Array.from(faults.matchAll(/^\| ([A-Z]\d+) \|/gm), ([, tag = ""]) => tag);
  const tests = globSync("test/{netns,interop,e2e,vm}/**/*.test.ts").map(read).join("\n");

  test("there are some", () => {
    expect(tags.length).toBeGreaterThan(20);
  });

  test.for(tags)("%s has a test that is named by it", (tag) => {
    const named = new RegExp(
      `\\b(test|testSome|describe)\\b[^\\n]*"${tag}[: ]|^[ \\])(]*"${tag}[: ]`,
      "m",
    );
    expect(named.test(tests)).toBe(true);
  });
});

test("the README is short", () => {
  expect(read("README.md").split("\n").length).toBeLessThan(120);
});

test.for(pages)("the links in %s lead somewhere", (page) => {
  const targets = Array.from(read(page).matchAll(/\]\(([^)\s]+)\)/g), ([, target = ""]) => target);
  const broken = targets.filter((target) => {
    if (/^https?:/.test(target)) return false;
    const [path = "", anchor] = target.split("#");
    const file = path === "" ? page : join(dirname(page), path);
    if (!existsSync(file)) return true;
    return anchor !== undefined && !anchorsOf(file).includes(anchor);
  });
  expect(broken).toEqual([]);
});

test("the map in CONTRIBUTING has each room of shared, and no other", () => {
  const listed = Array.from(
    read("CONTRIBUTING.md").matchAll(/^\| `(shared\/\w+)` \|/gm),
    ([, room]) => room,
  );
  expect(new Set(listed)).toEqual(new Set(globSync("shared/*")));
});

test("the files that CONTRIBUTING names are there", () => {
  const text = read("CONTRIBUTING.md");
  const files = Array.from(
    text.matchAll(/`((?:plugins|shared|scripts)\/[\w/-]+\.ts)`/g),
    ([, file = ""]) => file,
  );
  expect(files.length).toBeGreaterThan(5);
  expect(files.filter((file) => !existsSync(file))).toEqual([]);
});

test("the index of decisions lists each of them", () => {
  const listed = Array.from(
    read("docs/decisions/README.md").matchAll(/\((\d{4}-.*?)\)/g),
    ([, file]) => file,
  );
  const records = globSync("docs/decisions/[0-9]*.md").map((file) => basename(file));
  expect(new Set(listed)).toEqual(new Set(records));
  const numbers = records.map((file) => file.slice(0, 4));
  expect(new Set(numbers).size, "two records have one number").toBe(numbers.length);
});

test("the table of error codes has each of them", () => {
  const known = Object.values(Code).map(String);
  expect(codesIn("docs/plugins/README.md")).toEqual(known);
  const listed = globSync("docs/plugins/*.md").flatMap(codesIn);
  expect(listed.filter((code) => !known.includes(code))).toEqual([]);
});

/** The codes in the first cells of a page's table of error codes. */
function codesIn(file: string): string[] {
  const [, section = ""] = read(file).split("\n## Error codes\n");
  return Array.from(section.matchAll(/^\| (\d+) \|/gm), ([, code = ""]) => code);
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(file: string): string[] {
  return Array.from(read(file).matchAll(/^#+ (.*)$/gm), ([, title = ""]) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

import { expect, test } from "vitest";
import { mirrorProblems } from "../../../../scripts/check/mirror.ts";

const code = new Set(["shared/net", "shared/net/cidr.ts", "shared/net/ip_range.ts", "docs"]);
const problemsOf = (file: string) => mirrorProblems([file], (path) => code.has(path));

test.for([
  "test/unit/shared/net/cidr.test.ts",
  "test/unit/shared/net/cidr_of_ipv6.test.ts",
  "test/unit/shared/net/ip_range.test.ts",
  "test/unit/shared/net.test.ts",
  "test/unit/shared/net/arbitraries.ts",
  "test/unit/docs.test.ts",
  "test/unit/temporary_folder.ts",
  "test/unit/fuzz/answers.test.ts",
])("%s mirrors the code", (file) => {
  expect(problemsOf(file)).toEqual([]);
});

test.for([
  ["test/unit/shared/net/ip.test.ts", "there is no shared/net/ip.ts that it tests"],
  ["test/unit/shared/cidr.test.ts", "there is no shared/cidr.ts that it tests"],
  ["test/unit/plugins/net/cidr.test.ts", "there is no plugins/net/cidr.ts that it tests"],
  ["test/unit/shared/old/helpers.ts", "there is no folder shared/old"],
  ["test/unit/fuzz/deeper/answers.test.ts", "there is no fuzz/deeper/answers.ts that it tests"],
])("%s does not: %s", ([file = "", problem = ""]) => {
  expect(problemsOf(file)).toEqual([`${file}: ${problem}`]);
});

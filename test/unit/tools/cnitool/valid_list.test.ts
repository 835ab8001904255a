/** What `ps --valid` prints, `gc` reads. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UsageError } from "../../../../shared/cli/command.ts";
import { ifnameProblem } from "../../../../shared/cni/request.ts";
import { formatEntry, readEntry, readValidList } from "../../../../tools/cnitool/valid_list.ts";

const ids = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,60}$/);
const ifnames = fc
  .string({ unit: "binary", minLength: 1, maxLength: 15 })
  .filter((name) => ifnameProblem(name) === undefined && !name.includes("\ufffd"));

describe("a list", () => {
  it("comes back as it was printed, a line each", () => {
    const entry = fc.record({ containerId: ids, ifname: ifnames });
    fc.assert(
      fc.property(fc.array(entry), (entries) => {
        const lines = entries.map(formatEntry);
        for (const line of lines) expect(line).not.toContain("\n");
        expect(readValidList(lines.join("\n"))).toEqual(entries);
      }),
    );
  });

  it("may have comments and blank lines, or be JSON", () => {
    const expected = [{ containerId: "a", ifname: "eth0" }];
    expect(readValidList("# pods\n\n  a/eth0  \n")).toEqual(expected);
    expect(readValidList('[{"containerID": "a", "ifname": "eth0"}]')).toEqual(expected);
    expect(readValidList('["a/eth0"]')).toEqual(expected);
    expect(readValidList("")).toEqual([]);
  });

  it.each([
    "a",
    "a/",
    "/eth0",
    "a/b/c",
    "-a/eth0",
    '"a',
    '{"containerID":"a"}',
    "a/0123456789abcdef",
  ])("is refused with %j in it", (line) => {
    expect(() => readValidList(line)).toThrow(UsageError);
    expect(() => readEntry(line)).toThrow(UsageError);
  });
});

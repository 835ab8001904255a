/** What list.ts makes of texts; load.test.ts has the files. */
import { describe, expect, it } from "vitest";

import { readList, readPlugin, readSingle } from "../../../../shared/libcni/list.ts";

const none = (): never[] => [];
const list = (more: string): string => `{"name":"n","plugins":[{"type":"bridge"}]${more}}`;

describe("D8 keys are read as libcni reads them", () => {
  it("those of a list exactly, for it reads that into a map", () => {
    const text = list(',"CNIVersion":"1.0.0","DisableGC":true');
    expect(readList(text, "a.conflist", none)).toMatchObject({ cniVersion: "", disableGC: false });
    expect(() => readList('{"Name":"n","plugins":[{"type":"x"}]}', "a.conflist", none)).toThrow(
      "Cannot use name in the network config a.conflist: it must be set.",
    );
  });

  it("those of a plugin in any case", () => {
    const plugin = '{"TYPE":"bridge","Capabilities":{"MAC":true},"MTU":1}';
    const read = { type: "bridge", capabilities: { MAC: true }, MTU: 1 };
    expect(readPlugin(plugin, "a.conf")).toEqual(read);
    const text = `{"name":"n","plugins":[${plugin}]}`;
    expect(readList(text, "a.conflist", none).plugins).toEqual([read]);
  });

  it("those of a config that stands alone in any case", () => {
    const single = readSingle('{"Type":"x","NAME":"n","CNIVersion":"0.4.0"}', "a.conf");
    expect(single).toMatchObject({ name: "n", cniVersion: "0.4.0" });
  });
});

it("the advice of an error is the file", () => {
  expect(() => readList('{"name":"n","plugins":[{}]}', "/x/a.conflist", none)).toThrow(
    expect.objectContaining({
      message: "Cannot use plugins[0].type in the network config /x/a.conflist: it must be set.",
      details: "Correct /x/a.conflist.",
    }),
  );
});

it("a list has the text that it was read from", () => {
  const text = list("");
  expect(readList(text, "a.conflist", none).text).toBe(text);
});

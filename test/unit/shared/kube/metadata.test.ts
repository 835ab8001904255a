import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { JsonSplitter, StreamError } from "../../../../shared/kube/json_splitter.ts";
import { parseObject, readMetadata } from "../../../../shared/kube/metadata.ts";

/** What a splitter makes of bytes that come in pieces of these sizes. */
function split(kind: "objects" | "list", text: string, sizes: readonly number[]): unknown[] {
  const parts: unknown[] = [];
  const splitter = new JsonSplitter(kind, (bytes, part) => {
    parts.push([part, JSON.parse(bytes.toString("utf8"))]);
  });
  const bytes = Buffer.from(text);
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % Math.max(sizes.length, 1)] ?? bytes.length;
    splitter.push(bytes.subarray(at, at + size));
    at += size;
  }
  expect(splitter.isWhole).toBe(true);
  return parts;
}

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

function push(text: string): void {
  new JsonSplitter("objects", () => undefined).push(Buffer.from(text));
}

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });
const someJson = fc.jsonValue({ maxDepth: 4 });
const objects = fc.array(fc.dictionary(fc.string(), someJson), { maxLength: 5 });

describe("JsonSplitter", () => {
  it("cuts objects that follow each other, however the bytes come", () => {
    fc.assert(
      fc.property(objects, sizes, fc.constantFrom("\n", "", " \r\n"), (all, chunks, between) => {
        const text = all.map((object) => JSON.stringify(object)).join(between) + between;
        const wanted = all.map((object) => ["object", plain(object)]);
        expect(split("objects", text, chunks)).toEqual(wanted);
      }),
    );
  });

  it("cuts items and metadata out of a list, wherever they stand", () => {
    const otherAnnotations = fc.dictionary(
      fc.string().filter((key) => key !== "items" && key !== "metadata"),
      someJson,
    );
    fc.assert(
      fc.property(
        objects,
        otherAnnotations,
        otherAnnotations,
        sizes,
        fc.boolean(),
        (items, before, after, chunks, pretty) => {
          const metadata = { resourceVersion: "7", items: [{}], metadata: {} };
          const list = {
            ...before,
            metadata,
            more: ["items", { items: [{ a: 1 }] }],
            items,
            ...after,
          };
          const text = JSON.stringify(list, undefined, pretty ? 1 : undefined);
          const { items: __, metadata: _, ...rest } = list;
          expect(Object.keys(rest)).not.toContain("items");
          const found = split("list", text, chunks);
          expect(found).toContainEqual(["metadata", plain(metadata)]);
          expect(found.filter((event) => (event as string[])[0] === "item")).toEqual(
            items.map((item) => ["item", plain(item)]),
          );
        },
      ),
    );
  });

  it("tells a list that ends too soon", () => {
    const splitter = new JsonSplitter("list", () => undefined);
    splitter.push(Buffer.from('{"items":[{"a":1}'));
    expect(splitter.isWhole).toBe(false);
    splitter.push(Buffer.from("]}"));
    expect(splitter.isWhole).toBe(true);
  });

  it("refuses a bracket too many, and an object without end", () => {
    expect(() => push("{}}")).toThrow(StreamError);
    const endless = new JsonSplitter("objects", () => undefined);
    endless.push(Buffer.from('{"a":"'));
    const chunk = Buffer.alloc(1024 * 1024, 0x61);
    expect(() => {
      for (let at = 0; at < 20; at++) endless.push(chunk);
    }).toThrow("an object has more than");
  });
});

function read(object: unknown) {
  const json = Buffer.from(JSON.stringify(object));
  return readMetadata(parseObject(json), "f/");
}

function fields(...cidrs: string[]) {
  const values = cidrs.map((cidr) => [`v:"${cidr}"`, {}] as const);
  return {
    fieldsV1: {
      "f:metadata": {},
      "f:spec": { "f:podCIDRs": { ".": {}, ...Object.fromEntries(values) } },
    },
  };
}

describe("readMetadata", () => {
  const metadata = {
    name: "n1",
    uid: "u",
    resourceVersion: "7",
    creationTimestamp: "2026-11-25T11:19:13Z",
    annotations: { "f/a": "1", "g/b": "2" },
  };

  it("reads what is wanted of the metadata, and the subnets of managedFields", () => {
    const managedFields = [{ fieldsV1: {} }, {}, fields("10.1.2.0/24", "fd00:2::/64")];
    expect(read({ kind: "X", metadata: { ...metadata, managedFields } })).toEqual({
      name: "n1",
      uid: "u",
      resourceVersion: "7",
      created: Date.UTC(2026, 10, 25, 11, 19, 13),
      annotations: new Map([["f/a", "1"]]),
      podCidrs: ["10.1.2.0/24", "fd00:2::/64"],
      fromSpec: false,
    });
  });

  it.each([
    [
      { podCIDR: "10.1.2.0/24", podCIDRs: ["10.1.2.0/24", "fd00::/64"] },
      ["10.1.2.0/24", "fd00::/64"],
    ],
    [{ podCIDR: "10.1.2.0/24" }, ["10.1.2.0/24"]],
    [{ podCIDRs: [] }, undefined],
    [{}, undefined],
  ])("prefers the spec: %j", (spec, podCidrs) => {
    const managedFields = [fields("10.9.9.0/24")];
    expect(read({ metadata: { ...metadata, managedFields }, spec })).toMatchObject({
      podCidrs,
      fromSpec: true,
    });
  });

  it("does without what is missing or null", () => {
    expect(
      read({ metadata: { creationTimestamp: null, annotations: null, managedFields: null } }),
    ).toEqual({
      name: "",
      uid: "",
      resourceVersion: "",
      created: 0,
      annotations: new Map(),
      podCidrs: undefined,
      fromSpec: false,
    });
    expect(() => read({})).toThrow(StreamError);
    expect(() => read({ metadata: { name: 1 } })).toThrow(StreamError);
    expect(() => read([])).toThrow(StreamError);
  });

  it("throws nothing but StreamErrors", () => {
    const sample = JSON.stringify({
      metadata: { ...metadata, managedFields: [fields("10.1.2.0/24")] },
      spec: { podCIDRs: ["10.1.2.0/24"] },
    });
    fc.assert(
      fc.property(fc.nat(sample.length), fc.string({ maxLength: 3 }), (at, edit) => {
        const json = sample.slice(0, at) + edit + sample.slice(at + edit.length);
        try {
          readMetadata(parseObject(Buffer.from(json)), "f/");
        } catch (error) {
          expect(error).toBeInstanceOf(StreamError);
        }
      }),
    );
  });
});

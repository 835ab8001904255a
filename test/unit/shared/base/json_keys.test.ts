/**
 * Go's reading of JSON keys. go_json_keys.json has texts, and what Go 1.26 makes of them. To make it
 * anew, run this on the texts, a line each, and put its lines into brackets:
 *
 *     type route struct {
 *       Dst      string `json:"dst,omitempty"`
 *       Priority int    `json:"priority,omitempty"`
 *     }
 *     type ipam struct {
 *       Type   string         `json:"type,omitempty"`
 *       Subnet string         `json:"subnet,omitempty"`
 *       Routes []route        `json:"routes,omitempty"`
 *       Sets   [][]route      `json:"sets,omitempty"`
 *       Map    map[string]any `json:"map,omitempty"`
 *     }
 *     type conf struct {
 *       Mtu    int    `json:"mtu,omitempty"`
 *       Bridge string `json:"bridge,omitempty"`
 *       IpMasq bool   `json:"ipMasq,omitempty"`
 *       Ksk    string `json:"ksk,omitempty"`
 *       List   string `json:"cni.dev/valid-attachments,omitempty"`
 *       Ipam   ipam   `json:"ipam,omitzero"`
 *     }
 *     for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
 *       var read conf
 *       json.Unmarshal(lines.Bytes(), &read)
 *       text, _ := json.Marshal(lines.Text())
 *       value, _ := json.Marshal(read)
 *       fmt.Printf("%s, %s\n", text, value)
 *     }
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { isJsonArray, isJsonObject, parseJson } from "../../../../shared/base/json.ts";
import type { Json } from "../../../../shared/base/json.ts";
import { withExactKeys } from "../../../../shared/base/json_keys.ts";
import type { KeyTree } from "../../../../shared/base/json_keys.ts";
import * as validators from "../../../../schemas/generated/validators.js";

const table = JSON.parse(
  readFileSync(join(import.meta.dirname, "go_json_keys.json"), "utf8"),
) as readonly (readonly [text: string, read: Json])[];

const route: KeyTree = { keys: { dst: ["dst"], priority: ["priority"] } };
const tree: KeyTree = {
  keys: {
    mtu: ["mtu"],
    bridge: ["bridge"],
    ipmasq: ["ipMasq"],
    ksk: ["ksk"],
    "cni.dev/valid-attachments": ["cni.dev/valid-attachments"],
    ipam: [
      "ipam",
      {
        keys: {
          type: ["type"],
          subnet: ["subnet"],
          routes: ["routes", { items: route }],
          sets: ["sets", { items: { items: route } }],
          map: ["map"],
        },
      },
    ],
  },
};

/** What Go leaves out when it writes again: unknown keys, and what is as good as absent. */
function known(value: Json, keys: KeyTree | undefined): Json {
  if (isJsonArray(value)) {
    return value.map((item) => known(item, keys && "items" in keys ? keys.items : undefined));
  }
  if (!isJsonObject(value) || keys === undefined || "items" in keys) return value;
  const inner = new Map<string, KeyTree | undefined>(
    Object.values(keys.keys).map(([key, keysOfValue]) => [key, keysOfValue]),
  );
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => inner.has(key))
      .map(([key, item]) => [key, known(item ?? null, inner.get(key))] as const)
      .filter(([, item]) => ![null, false, 0, ""].includes(item as null))
      .filter(([, item]) => typeof item !== "object" || Object.keys(item ?? {}).length > 0),
  );
}

describe("a text is read as Go reads it", () => {
  it.each(table)("%s", (text, read) => {
    expect(known(withExactKeys(parseJson(text) ?? null, tree), tree)).toEqual(known(read, tree));
  });
});

describe("where all keys are spelled right", () => {
  it("the value stays the very same", () => {
    const value = { mtu: 1, other: { MTU: 2 }, ipam: { routes: [{ dst: "a" }], map: { Type: 1 } } };
    expect(withExactKeys(value, tree)).toBe(value);
  });
});

/** Values that follow a tree as far as their shape goes, with keys in random letter cases. */
function likeTree(keys: KeyTree | undefined): fc.Arbitrary<{ exact: Json; odd: Json }> {
  const leaf = fc.oneof(fc.string(), fc.integer(), fc.constant(null));
  if (keys === undefined) return leaf.map((value) => ({ exact: value, odd: value }));
  if ("items" in keys) {
    return fc.array(likeTree(keys.items), { maxLength: 3 }).map((items) => ({
      exact: items.map(({ exact }) => exact),
      odd: items.map(({ odd }) => odd),
    }));
  }
  const entries = Object.values(keys.keys).map(([key, inner]) =>
    fc.record({
      key: fc.constant(key),
      isThere: fc.boolean(),
      upper: fc.array(fc.boolean(), { minLength: key.length, maxLength: key.length }),
      value: likeTree(inner),
    }),
  );
  return fc.tuple(...entries).map((all) => {
    const given = all.filter(({ isThere }) => isThere);
    return {
      exact: Object.fromEntries(given.map(({ key, value }) => [key, value.exact])),
      odd: Object.fromEntries(
        given.map(({ key, upper, value }) => {
          const letters = Array.from(key, (letter, at) =>
            upper[at] === true ? invert(letter) : letter,
          );
          return [keys.isMap === true ? key : letters.join(""), value.odd];
        }),
      ),
    };
  });
}

/** The other letters that Go takes for one. */
function invert(letter: string): string {
  if (letter === "s") return "ſ";
  if (letter === "k") return "\u212a";
  return letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
}

describe("D8 whatever the letter case of its keys, a value is the same", () => {
  it.each(Object.entries(validators).filter(([name]) => name.startsWith("validate")))(
    "by %s",
    (_, { keys }) => {
      fc.assert(
        fc.property(likeTree(keys), ({ exact, odd }) => {
          expect(withExactKeys(odd, keys)).toEqual(exact);
          expect(withExactKeys(exact, keys)).toBe(exact);
        }),
        { numRuns: 50 },
      );
    },
  );
});

it("takes a value of another type as it is", () => {
  for (const value of [null, 1, "mtu", [{ MTU: 1 }]]) {
    expect(withExactKeys(value, tree)).toBe(value);
  }
  const odd = { IPAM: [], Mtu: { MTU: 1 } };
  expect(withExactKeys(odd, tree)).toEqual({ ipam: [], mtu: { MTU: 1 } });
});

it("takes no key of an object's prototype for a known one", () => {
  const text = '{"__proto__":{"mtu":1},"constructor":1,"toString":2,"MTU":3}';
  const read = withExactKeys(parseJson(text) ?? null, validators.validateHostLocal.keys);
  expect(JSON.stringify(read)).toBe(text);
  expect(JSON.stringify(withExactKeys(parseJson(text) ?? null, tree))).toBe(
    text.replace("MTU", "mtu"),
  );
});

describe("the keys of a schema", () => {
  it("are those of its properties, of what it refers to and of lists", () => {
    const conf = { IPAM: { RANGES: [[{ SubNet: "a" }]], Routes: [{ Dst: "b" }] } };
    expect(withExactKeys(conf, validators.validateHostLocal.keys)).toEqual({
      ipam: { ranges: [[{ subnet: "a" }]], routes: [{ dst: "b" }] },
    });
  });

  it("are compared as they are where Go has a map", () => {
    const conf = { Delegate: { MTU: 1 }, ipam: { Type: "a", routes: [{ Dst: "b" }], Routes: [] } };
    expect(withExactKeys(conf, validators.validateFlannel.keys)).toEqual({
      delegate: { MTU: 1 },
      ipam: { Type: "a", routes: [{ dst: "b" }], Routes: [] },
    });
  });
});

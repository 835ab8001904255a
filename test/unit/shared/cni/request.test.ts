import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { CniError, Code } from "../../../../shared/cni/error.ts";
import { idProblem, ifnameProblem, readRequest } from "../../../../shared/cni/request.ts";
import { quote } from "../../../../shared/base/text.ts";

const env = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "pod1",
  CNI_NETNS: "/run/netns/pod1",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin",
};

function errorOf(action: () => unknown): CniError {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  return expect.fail("nothing was thrown");
}

describe("readRequest", () => {
  it("reads everything", () => {
    const args = "IgnoreUnknown=1;K8S_POD_NAME=web-0;EMPTY=;EQUALS=a=b";
    const path = "/opt/cni/bin::/usr/lib/cni:";
    const all = { ...env, CNI_ARGS: args, CNI_PATH: path, CNI_NETNS_OVERRIDE: "TRUE" };
    expect(readRequest(all)).toEqual({
      verb: "ADD",
      containerId: "pod1",
      netns: "/run/netns/pod1",
      ifname: "eth0",
      args: new Map([
        ["IgnoreUnknown", "1"],
        ["K8S_POD_NAME", "web-0"],
        ["EMPTY", ""],
        ["EQUALS", "a=b"],
      ]),
      path: ["/opt/cni/bin", "/usr/lib/cni"],
      netnsOverride: true,
    });
  });

  it.each(["", "0", "false", "yes"])("has no override for CNI_NETNS_OVERRIDE=%s", (value) => {
    expect(readRequest({ ...env, CNI_NETNS_OVERRIDE: value }).netnsOverride).toBe(false);
  });

  it.each([
    ["ADD", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]],
    ["DEL", ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]],
    ["CHECK", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]],
    ["GC", ["CNI_PATH"]],
    ["STATUS", ["CNI_PATH"]],
    ["VERSION", []],
  ])("%s needs %j, and says all that is missing at once", (verb, needed) => {
    const whole = { ...env, CNI_COMMAND: verb };
    expect(readRequest(whole).verb).toBe(verb);
    for (const name of needed) {
      const { code, message } = errorOf(() => readRequest({ ...whole, [name]: "" }));
      expect(code).toBe(Code.InvalidEnvironment);
      expect(message).toBe(`Cannot run ${verb}: ${name} is not set.`);
    }
    const alone = { CNI_COMMAND: verb };
    if (needed.length === 0) expect(readRequest(alone).containerId).toBe("");
    else expect(errorOf(() => readRequest(alone)).message).toContain(needed.join(", "));
  });

  it.each([undefined, "", "add", "Add", "LIST", "ADD "])("knows no verb %j", (verb) => {
    const { code, message, details } = errorOf(() => readRequest({ ...env, CNI_COMMAND: verb }));
    expect(code).toBe(Code.InvalidEnvironment);
    expect(message).toContain("CNI_COMMAND");
    expect(details).toContain("ADD, DEL, CHECK, GC, STATUS, VERSION");
  });

  it("says all that is malformed at once", () => {
    const { code, message } = errorOf(() =>
      readRequest({ ...env, CNI_CONTAINERID: "../etc", CNI_IFNAME: "a/b", CNI_NETNS: "a\0b" }),
    );
    expect(code).toBe(Code.InvalidEnvironment);
    for (const name of ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"]) {
      expect(message).toContain(name);
    }
  });

  it("takes no notice of what VERSION doesn't need", () => {
    const odd = { CNI_COMMAND: "VERSION", CNI_CONTAINERID: "../etc", CNI_ARGS: "odd" };
    expect(readRequest(odd).verb).toBe("VERSION");
  });

  it.each(["odd", "=value", "A=1;", "A=1;;B=2"])("refuses CNI_ARGS=%s", (args) => {
    const { code, message } = errorOf(() => readRequest({ ...env, CNI_ARGS: args }));
    expect(code).toBe(Code.InvalidEnvironment);
    expect(message).toContain("CNI_ARGS");
  });

  it("throws nothing but CniError", () => {
    const names = [...Object.keys(env), "CNI_ARGS", "CNI_NETNS_OVERRIDE"];
    const value = fc.option(fc.string({ unit: "binary" }), { nil: undefined });
    const environment = fc.record(Object.fromEntries(names.map((name) => [name, value])));
    fc.assert(
      fc.property(environment, fc.constantFrom("ADD", "DEL", "GC"), (random, verb) => {
        // errorOf lets any other error through; the second call is there to throw one.
        const { code } = errorOf(() => {
          readRequest({ ...random, CNI_COMMAND: verb });
          readRequest({});
        });
        expect(code).toBe(Code.InvalidEnvironment);
      }),
    );
  });
});

describe("idProblem", () => {
  it.each(["a", "0", "pod-1_2.3", "A".repeat(200)])("has nothing against %j", (id) => {
    expect(idProblem(id)).toBeUndefined();
  });

  it.each(["", ".", "..", "-a", "_a", "a/b", "a:b", "a b", "a\n", "ä", "a".repeat(201)])(
    "has something against %j",
    (id) => {
      expect(idProblem(id)).toBeTypeOf("string");
    },
  );
});

describe("ifnameProblem", () => {
  it.each(["eth0", "a", "veth-1.2@x", "123456789012345", "äääääää"])(
    "has nothing against %j",
    (name) => {
      expect(ifnameProblem(name)).toBeUndefined();
    },
  );

  it.each([".", "..", "a/b", "a:b", "a b", "a\tb", "a\n", "a\0", "1234567890123456", "ääääääää"])(
    "has something against %j",
    (name) => {
      expect(ifnameProblem(name)).toBeTypeOf("string");
    },
  );
});

describe("quote", () => {
  it("shows what cannot be seen, and not too much", () => {
    expect(quote('a"\n')).toBe(String.raw`"a\"\n"`);
    expect(quote("a".repeat(65))).toBe(`"${"a".repeat(64)}…"`);
  });
});

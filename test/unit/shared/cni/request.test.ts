import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { CniError, Code } from "../../../../shared/cni/error.ts";
import {
  idProblem,
  ifnameProblem,
  newIdProblem,
  newIfnameProblem,
  readArgs,
  readRequest,
} from "../../../../shared/cni/request.ts";

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
      args,
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
      expect(message).toBe(`Cannot run ${verb}: ${name} must be set.`);
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

  it.each(["none", "=value", ";", "A=1;"])("leaves CNI_ARGS=%s to who reads it", (args) => {
    expect(readRequest({ ...env, CNI_ARGS: args }).args).toBe(args);
  });

  it("wants ids and names that can be made, of an ADD alone", () => {
    const odd = { ...env, CNI_CONTAINERID: "a".repeat(250), CNI_IFNAME: "eth%d" };
    const { message } = errorOf(() => readRequest(odd));
    expect(message).toContain("CNI_CONTAINERID must be at most 200 characters long");
    expect(message).toContain("CNI_IFNAME must not contain '%' (got \"eth%d\")");
    for (const verb of ["DEL", "CHECK"]) {
      expect(readRequest({ ...odd, CNI_COMMAND: verb }).ifname).toBe("eth%d");
    }
  });

  it("throws nothing but CniError", () => {
    const names = [...Object.keys(env), "CNI_ARGS", "CNI_NETNS_OVERRIDE"];
    const value = fc.option(fc.string({ unit: "binary" }), { nil: undefined });
    const environment = fc.record(Object.fromEntries(names.map((name) => [name, value])));
    fc.assert(
      fc.property(environment, fc.constantFrom("ADD", "DEL", "GC"), (random, verb) => {
        // errorOf passes any other error on; the second call throws one.
        const { code } = errorOf(() => {
          readRequest({ ...random, CNI_COMMAND: verb });
          readRequest({});
        });
        expect(code).toBe(Code.InvalidEnvironment);
      }),
    );
  });
});

function read(args: string, verb = "ADD"): ReadonlyMap<string, string> {
  return readArgs(readRequest({ ...env, CNI_COMMAND: verb, CNI_ARGS: args }));
}

describe("readArgs", () => {
  it("reads pairs, whose values can have anything but a semicolon", () => {
    expect(read("IgnoreUnknown=1;K8S_POD_NAME=web-0;EMPTY=;EQUALS=a=b")).toEqual(
      new Map([
        ["IgnoreUnknown", "1"],
        ["K8S_POD_NAME", "web-0"],
        ["EMPTY", ""],
        ["EQUALS", "a=b"],
      ]),
    );
  });

  it.each(["A=1;", ";A=1", "A=1;;"])("passes over what is empty in %s", (args) => {
    expect(read(args)).toEqual(new Map([["A", "1"]]));
  });

  it.each(["none", "A=1;=value", "A=1; ;"])("of an ADD refuses %s", (args) => {
    const { code, message } = errorOf(() => read(args));
    expect(code).toBe(Code.InvalidEnvironment);
    expect(message).toMatch(/^Cannot read CNI_ARGS: each part must be KEY=VALUE \(got ".*"\)\.$/);
    for (const verb of ["DEL", "CHECK", "GC", "STATUS"])
      expect(read(args, verb).has("")).toBe(false);
  });
});

describe("idProblem", () => {
  it.each(["a", "0", "pod-1_2.3", "A".repeat(255)])("has nothing against %j", (id) => {
    expect(idProblem(id)).toBeUndefined();
  });

  it.each(["", ".", "..", "-a", "_a", "a/b", "a:b", "a b", "a\n", "ä", "a".repeat(256)])(
    "has something against %j",
    (id) => {
      expect(idProblem(id)).toMatch(/^must /);
      expect(newIdProblem(id)).toMatch(/^must /);
    },
  );

  it("of a new one is that its file's name would be too long", () => {
    expect(newIdProblem("a".repeat(200))).toBeUndefined();
    expect(newIdProblem("a".repeat(201))).toBe("must be at most 200 characters long");
  });
});

describe("ifnameProblem", () => {
  it.each(["eth0", "a", "veth-1.2@x", "123456789012345", "äääääää"])(
    "has nothing against %j",
    (name) => {
      expect(ifnameProblem(name)).toBeUndefined();
    },
  );

  it.each([
    "",
    ".",
    "..",
    "a/b",
    "a:b",
    "a b",
    "a\tb",
    "a\n",
    "a\0",
    "1234567890123456",
    "ääääääää",
  ])("has something against %j", (name) => {
    expect(ifnameProblem(name)).toMatch(/^must /);
    expect(newIfnameProblem(name)).toMatch(/^must /);
  });

  it("of a new one is that the kernel would make another of it", () => {
    expect(ifnameProblem("eth%d")).toBeUndefined();
    expect(newIfnameProblem("eth%d")).toBe("must not contain '%'");
    for (const name of ["all", "default"]) {
      expect(newIfnameProblem(name)).toContain("must not be 'all' or 'default'");
      expect(ifnameProblem(name), "for DEL").toBeUndefined();
    }
  });
});

import { describe, expect, test } from "vitest";
import {
  decodeRequest,
  encodeAnswer,
  encodeRequest,
  maxEnvironment,
  hasBegun,
  maxStdin,
  readReply,
  requestLength,
} from "../../../../shared/agent/protocol.ts";
import type { AgentRequest } from "../../../../shared/agent/protocol.ts";

const buildId = "0123456789abcdef0123456789abcdef";
const request = {
  buildId,
  name: "flannel",
  env: { CNI_COMMAND: "ADD", CNI_ARGS: "A=1;B=é", PATH: "/sbin", HOME: "/root", CNI_IFNAME: "" },
  stdin: Buffer.from('{"name":"é"}'),
};

function encoded(more: Partial<AgentRequest> = {}): Buffer {
  const bytes = encodeRequest({ ...request, ...more });
  if (bytes === undefined) throw new Error("It is too long.");
  return Buffer.from(bytes);
}

describe("a request", () => {
  test("comes as it was sent, with the variables that are passed", () => {
    const { HOME, ...env } = request.env;
    expect(HOME).toBe("/root");
    const { stdin, ...read } = decodeRequest(encoded());
    expect({ ...read, env: { ...read.env } }).toEqual({ buildId, name: "flannel", env });
    expect(Buffer.from(stdin)).toEqual(request.stdin);
  });

  test("has the bytes that other clients write", () => {
    const bytes = encoded({
      name: "bridge",
      env: { CNI_COMMAND: "ADD" },
      stdin: Buffer.from("{}"),
    });
    const environment = "bridge\0CNI_COMMAND=ADD\0";
    expect(bytes.toString("latin1")).toBe(
      `flcni\0\0\u0001${buildId}\u0017\0\0\0\u0002\0\0\0${environment}{}`,
    );
    expect(environment).toHaveLength(0x17);
  });

  test("tells its length as soon as its header is there", () => {
    const bytes = encoded();
    for (let length = 0; length < 48; length++) {
      expect(requestLength(bytes.subarray(0, length))).toBeUndefined();
    }
    expect(requestLength(bytes.subarray(0, 48))).toBe(bytes.length);
  });

  test("that is too long is not sent, and not read", () => {
    expect(encodeRequest({ ...request, stdin: Buffer.alloc(maxStdin + 1) })).toBeUndefined();
    const env = { CNI_ARGS: "x".repeat(maxEnvironment) };
    expect(encodeRequest({ ...request, env })).toBeUndefined();
    const bytes = encoded();
    bytes.writeUInt32LE(maxStdin + 1, 44);
    expect(() => requestLength(bytes)).toThrow(RangeError);
    bytes.writeUInt32LE(0, 44);
    bytes.writeUInt32LE(maxEnvironment + 1, 40);
    expect(() => requestLength(bytes)).toThrow(RangeError);
  });

  test.each([
    ["of another version", (bytes: Buffer) => bytes.fill(2, 7, 8)],
    ["that is cut", (bytes: Buffer) => bytes.subarray(0, -1)],
    ["with more after it", (bytes: Buffer) => Buffer.concat([bytes, Buffer.from("x")])],
    [
      "whose variables run into stdin",
      (bytes: Buffer) => {
        bytes.writeUInt32LE(bytes.readUInt32LE(40) + 1, 40);
        bytes.writeUInt32LE(bytes.readUInt32LE(44) - 1, 44);
        return bytes;
      },
    ],
    [
      "with a variable that is not passed",
      (bytes: Buffer) =>
        Buffer.from(bytes.toString("latin1").replace("CNI_ARGS", "XNI_ARGS"), "latin1"),
    ],
    [
      "with a variable without a name",
      (bytes: Buffer) =>
        Buffer.from(bytes.toString("latin1").replace("CNI_IFNAME=", "CNI_IFNAME_"), "latin1"),
    ],
  ])("%s is refused", (_, change) => {
    expect(() => decodeRequest(change(encoded()))).toThrow(RangeError);
  });

  test("gives the first of two variables of a name", () => {
    const bytes = Buffer.from(
      encoded({ env: { CNI_AAAA: "1", CNI_BBBB: "2" } })
        .toString("latin1")
        .replace("CNI_BBBB", "CNI_AAAA"),
      "latin1",
    );
    expect(decodeRequest(bytes).env["CNI_AAAA"]).toBe("1");
  });
});

describe("a reply", () => {
  const begin = Buffer.from("B");
  const answer = { code: 1, stdout: '{ "msg": "é" }\n' };
  const whole = Buffer.concat([begin, encodeAnswer(answer)]);

  test("comes as it was sent", () => {
    for (const sent of [answer, { code: 0, stdout: "" }]) {
      const reply = readReply(Buffer.concat([begin, encodeAnswer(sent)]));
      const stdout = Buffer.from(sent.stdout);
      expect(reply).toEqual({ kind: "answer", code: sent.code, stdout });
    }
  });

  test("has the bytes that other clients read", () => {
    expect(encodeAnswer({ code: 3, stdout: "{}" }).toString("latin1")).toBe(
      "R\u0003\u0002\0\0\0{}",
    );
  });

  test("that is cut is none yet, and the call has begun", () => {
    expect([readReply(Buffer.alloc(0)), hasBegun(Buffer.alloc(0))]).toEqual([undefined, false]);
    for (let length = 1; length < whole.length; length++) {
      const part = whole.subarray(0, length);
      expect([readReply(part), hasBegun(part)]).toEqual([undefined, true]);
    }
  });

  test.each([
    ["D", "declined"],
    ["R", "declined"],
    ["OB", "declined"],
    ["BD", "declined"],
    ["BDD", "broken"],
    ["BB", "broken"],
    [`${whole.toString("latin1")}x`, "broken"],
    ["BR\0\u0001\0\0\u0004", "broken"],
    ["BR\0\xff\xff\xff\xff", "broken"],
  ])("%j is %s", (text, kind) => {
    expect(readReply(Buffer.from(text, "latin1"))).toEqual({ kind });
  });
});

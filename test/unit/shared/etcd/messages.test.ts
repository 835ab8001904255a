import fc from "fast-check";
import { describe, expect, it } from "vitest";

import {
  prefixEnd,
  readLease,
  readRange,
  readTxn,
  readWatch,
  writeGrant,
  writeRange,
  writeTxn,
  writeWatch,
} from "../../../../shared/etcd/messages.ts";
import { fieldsOf, MessageWriter, ProtobufError } from "../../../../shared/etcd/protobuf.ts";

const hex = (message: Buffer) => message.toString("hex");

describe("protobuf", () => {
  it("reads the integers and bytes that it writes", () => {
    const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    const field = fc.integer({ min: 1, max: 100 });
    fc.assert(
      fc.property(fc.array(fc.tuple(field, int64, fc.uint8Array())), (fields) => {
        const message = new MessageWriter();
        for (const [number, integer, bytes] of fields) {
          message.integer(number, integer).message(number, bytes);
        }
        const wanted = fields.flatMap(([number, integer, bytes]) => [
          ...(integer === 0n ? [] : [{ number, integer, bytes: "" }]),
          { number, integer: 0n, bytes: hex(Buffer.from(bytes)) },
        ]);
        const found = [...fieldsOf(message.finish())];
        expect(found.map((entry) => ({ ...entry, bytes: hex(entry.bytes) }))).toEqual(wanted);
      }),
    );
  });

  it("skips what has a fixed size, and throws nothing but its own errors", () => {
    const fixed = Buffer.from("0901020304050607080d010203041005", "hex");
    expect([...fieldsOf(fixed)].map(({ number, integer }) => [number, integer])).toEqual([
      [1, 0n],
      [1, 0n],
      [2, 5n],
    ]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        for (const read of [readRange, readTxn, readWatch, readLease]) {
          try {
            read(Buffer.from(bytes));
          } catch (error) {
            expect(error).toBeInstanceOf(ProtobufError);
          }
        }
      }),
    );
  });
});

describe("etcd's messages", () => {
  it("are as etcd's own client writes them", () => {
    expect(hex(writeRange({ key: "/a/", prefix: true, limit: 500 }))).toBe(
      "0a032f612f12032f613018f403",
    );
    expect(hex(writeRange({ key: "k" }))).toBe("0a016b");
    expect(hex(writeGrant(86_400))).toBe("0880a305");
    expect(hex(writeWatch("/a/", 7))).toBe("0a0e0a032f612f12032f613018072001");
    const absent = { kind: "absent", prefix: "k" } as const;
    const put = { kind: "put", key: "k", value: "v", lease: 1n } as const;
    expect(hex(writeTxn([absent], [put]))).toBe("0a0910011a016b8204016c120a12080a016b1201761801");
    const unchanged = { kind: "unchanged", key: "k", modRevision: 5 } as const;
    expect(hex(writeTxn([unchanged], [{ kind: "delete", key: "k" }]))).toBe(
      "0a0710021a016b300512051a030a016b",
    );
  });

  it("name the first key that does not begin with a prefix", () => {
    expect(prefixEnd("/a/").toString()).toBe("/a0");
    expect(hex(prefixEnd(""))).toBe("00");
  });

  it("are read", () => {
    const header = new MessageWriter().integer(1, 9).integer(3, 42);
    const kv = new MessageWriter()
      .bytes(1, "k")
      .integer(2, 3)
      .integer(3, 4)
      .integer(4, 1)
      .bytes(5, "v")
      .integer(6, 0x6a6ca2125183650bn);
    const range = new MessageWriter()
      .message(1, header)
      .message(2, kv)
      .integer(3, true)
      .integer(4, 7);
    const read = {
      key: "k",
      value: Buffer.from("v"),
      createRevision: 3,
      modRevision: 4,
      lease: 0x6a6ca2125183650bn,
    };
    expect(readRange(range.finish())).toEqual({ revision: 42, kvs: [read], more: true });
    const event = new MessageWriter().integer(1, 1).message(2, kv);
    const watch = new MessageWriter()
      .message(1, header)
      .integer(5, 8)
      .bytes(6, "why")
      .message(11, event);
    expect(readWatch(watch.finish())).toEqual({
      revision: 42,
      created: false,
      canceled: false,
      compactRevision: 8,
      cancelReason: "why",
      events: [{ type: "delete", kv: read }],
    });
    const gone = new MessageWriter().message(1, header).integer(2, 5n).integer(3, -1);
    expect(readLease(gone.finish())).toEqual({ id: 5n, ttl: -1 });
    expect(readTxn(new MessageWriter().message(1, header).integer(2, true).finish())).toEqual({
      revision: 42,
      succeeded: true,
    });
  });
});

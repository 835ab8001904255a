import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { frame, Type } from "../../../../shared/netlink/codec.ts";
import { DumpDigest } from "../../../../shared/netlink/dump_digest.ts";
import { FakeNode } from "../runtime/fake_sys.ts";

const [NLMSG_ERROR, NLMSG_DONE, NLM_F_MULTI, NLM_F_DUMP_INTR] = [2, 3, 2, 16];
const [NDA_DST, NDA_CACHEINFO] = [1, 3];
const request = { type: Type.GETNEIGH, flags: 0, body: Buffer.alloc(12) };

function attribute(type: number, ...data: readonly number[]): Buffer {
  return Buffer.from([4 + data.length, 0, type, 0, ...data]);
}

interface Entry {
  readonly address: number;
  readonly age: number;
}

function neighbour({ address, age }: Entry, seq: number, flags = NLM_F_MULTI): Buffer {
  const attributes = [
    attribute(NDA_DST, 10, 0, 0, address),
    attribute(NDA_CACHEINFO, ...Array.from({ length: 16 }, () => age)),
  ];
  return frame(
    { type: Type.NEWNEIGH, flags, body: Buffer.concat([Buffer.alloc(12), ...attributes]) },
    seq,
  );
}

const done = (seq: number) => frame({ type: NLMSG_DONE, flags: 2, body: Buffer.alloc(4) }, seq);

function sha512(data: string | Uint8Array): string {
  return createHash("sha512").update(data).digest("hex");
}

/** The digests of dumps, of which each answers one request. */
function digestsOf(...dumps: readonly (readonly (Buffer | number)[])[]) {
  const kernel = new FakeNode(dumps.flat());
  const digest = new DumpDigest({ ...kernel.sys, sha512 });
  return dumps.map(() => digest.digest(request));
}

test("entries of another age are the same", () => {
  const [first, second] = digestsOf(
    [neighbour({ address: 1, age: 7 }, 1), neighbour({ address: 2, age: 8 }, 1), done(1)],
    [neighbour({ address: 1, age: 9 }, 2), neighbour({ address: 2, age: 9 }, 2), done(2)],
  );
  expect(first).toMatch(/^[\da-f ]+$/);
  expect(second).toBe(first);
});

test("another entry, one more and one less are not", () => {
  const digests = digestsOf(
    [neighbour({ address: 1, age: 7 }, 1), done(1)],
    [neighbour({ address: 2, age: 7 }, 2), done(2)],
    [neighbour({ address: 1, age: 7 }, 3), neighbour({ address: 2, age: 7 }, 3), done(3)],
    [done(4)],
  );
  expect(new Set(digests).size).toBe(4);
});

/** A whole dump of two neighbours in one datagram. */
function datagram(seq: number, address: number): Buffer {
  const entries = [1, address].map((each) => neighbour({ address: each, age: seq }, seq));
  return Buffer.concat([...entries, done(seq)]);
}

test("several messages of a datagram are all looked at", () => {
  const [first, second, third] = digestsOf([datagram(1, 2)], [datagram(2, 2)], [datagram(3, 4)]);
  expect(second).toBe(first);
  expect(third).not.toBe(first);
});

test("there is none when the kernel refuses, is interrupted, or says nothing", () => {
  const body = Buffer.alloc(20);
  const digests = digestsOf(
    [frame({ type: NLMSG_ERROR, flags: 0, body }, 1)],
    [neighbour({ address: 1, age: 7 }, 2, NLM_F_MULTI | NLM_F_DUMP_INTR), done(2)],
    [-11],
  );
  expect(digests).toEqual([undefined, undefined, undefined]);
});

test("what is left of a dump that was given up is not part of the next", () => {
  const entry = { address: 1, age: 7 };
  const [, second] = digestsOf([-11], [neighbour(entry, 1), done(1), neighbour(entry, 2), done(2)]);
  const [first] = digestsOf([neighbour(entry, 1), done(1)]);
  expect(second).toBe(first);
});

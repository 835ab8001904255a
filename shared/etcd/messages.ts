import { fieldsOf, MessageWriter } from "./protobuf.ts";

/** etcd's messages (etcdserverpb and mvccpb), as far as they are used here. */

/** A key with its value, as etcd has it. */
export interface KeyValue {
  readonly key: string;
  readonly value: Buffer;
  readonly createRevision: number;
  readonly modRevision: number;
  /** The etcd lease that it goes with; 0 for none. */
  readonly lease: bigint;
}

export interface RangeRequest {
  readonly key: string;
  /** All keys from `key` on that begin with it. */
  readonly prefix?: boolean;
  /** From this key on instead of from the first of the prefix. */
  readonly from?: string;
  readonly limit?: number;
  /** As it was at a revision; 0 for now. */
  readonly revision?: number;
}

export interface RangeResponse {
  readonly revision: number;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
}

/** What has to hold for a transaction to be done. */
export type Condition =
  /** No key begins with this. */
  | { readonly kind: "absent"; readonly prefix: string }
  /** Nobody has changed the key since. */
  | { readonly kind: "unchanged"; readonly key: string; readonly modRevision: number };

export type Operation =
  | { readonly kind: "put"; readonly key: string; readonly value: string; readonly lease: bigint }
  | { readonly kind: "delete"; readonly key: string };

export interface TxnResponse {
  readonly revision: number;
  readonly succeeded: boolean;
}

export interface WatchEvent {
  readonly type: "put" | "delete";
  readonly kv: KeyValue;
}

export interface WatchResponse {
  readonly revision: number;
  readonly created: boolean;
  readonly canceled: boolean;
  /** If it is not 0, etcd has forgotten everything before that revision. */
  readonly compactRevision: number;
  readonly cancelReason: string;
  readonly events: readonly WatchEvent[];
}

const target = { create: 1, mod: 2 };
const deleteEvent = 1n;

/** The first key that does not begin with a prefix. */
export function prefixEnd(prefix: string): Buffer {
  const bytes = Buffer.from(prefix);
  for (let at = bytes.length - 1; at >= 0; at--) {
    const byte = bytes[at] ?? 0;
    if (byte === 255) continue;
    bytes[at] = byte + 1;
    return bytes.subarray(0, at + 1);
  }
  return Buffer.of(0);
}

export function writeRange({ key, prefix, from, limit, revision }: RangeRequest): Buffer {
  return new MessageWriter()
    .bytes(1, from ?? key)
    .bytes(2, prefix === true ? prefixEnd(key) : "")
    .integer(3, limit ?? 0)
    .integer(4, revision ?? 0)
    .finish();
}

export function readRange(message: Buffer): RangeResponse {
  let [revision, more] = [0, false];
  const kvs: KeyValue[] = [];
  for (const { number, integer, bytes } of fieldsOf(message)) {
    if (number === 1) revision = readRevision(bytes);
    else if (number === 2) kvs.push(readKeyValue(bytes));
    else if (number === 3) more = integer !== 0n;
  }
  return { revision, kvs, more };
}

export function writeTxn(
  conditions: readonly Condition[],
  operations: readonly Operation[],
): Buffer {
  const message = new MessageWriter();
  for (const condition of conditions) message.message(1, writeCondition(condition));
  for (const operation of operations) message.message(2, writeOperation(operation));
  return message.finish();
}

/** Comparisons are for equality, the default. A missing key has the revision 0. */
function writeCondition(condition: Condition): MessageWriter {
  const message = new MessageWriter();
  if (condition.kind === "absent") {
    return message
      .integer(2, target.create)
      .bytes(3, condition.prefix)
      .bytes(64, prefixEnd(condition.prefix));
  }
  return message.integer(2, target.mod).bytes(3, condition.key).integer(6, condition.modRevision);
}

function writeOperation(operation: Operation): MessageWriter {
  const message = new MessageWriter();
  if (operation.kind === "delete") {
    return message.message(3, new MessageWriter().bytes(1, operation.key));
  }
  const { key, value, lease } = operation;
  return message.message(2, new MessageWriter().bytes(1, key).bytes(2, value).integer(3, lease));
}

export function readTxn(message: Buffer): TxnResponse {
  let [revision, succeeded] = [0, false];
  for (const { number, integer, bytes } of fieldsOf(message)) {
    if (number === 1) revision = readRevision(bytes);
    else if (number === 2) succeeded = integer !== 0n;
  }
  return { revision, succeeded };
}

/** @param ttl seconds. */
export function writeGrant(ttl: number): Buffer {
  return new MessageWriter().integer(1, ttl).finish();
}

export function writeLeaseId(id: bigint): Buffer {
  return new MessageWriter().integer(1, id).finish();
}

/** What etcd says about a lease: the seconds left, 0 or less if it is gone. */
export function readLease(message: Buffer): { readonly id: bigint; readonly ttl: number } {
  let [id, ttl] = [0n, 0];
  for (const { number, integer } of fieldsOf(message)) {
    if (number === 2) id = integer;
    else if (number === 3) ttl = Number(integer);
  }
  return { id, ttl };
}

export function writeAuthenticate(name: string, password: string): Buffer {
  return new MessageWriter().bytes(1, name).bytes(2, password).finish();
}

export function readAuthenticate(message: Buffer): string {
  let token = "";
  for (const { number, bytes } of fieldsOf(message)) if (number === 2) token = bytes.toString();
  return token;
}

/** A watch of all keys of a prefix, with a sign of life every ten minutes if nothing happens. */
export function writeWatch(prefix: string, startRevision: number): Buffer {
  const create = new MessageWriter()
    .bytes(1, prefix)
    .bytes(2, prefixEnd(prefix))
    .integer(3, startRevision)
    .integer(4, true);
  return new MessageWriter().message(1, create).finish();
}

export function readWatch(message: Buffer): WatchResponse {
  let [revision, compactRevision, created, canceled, cancelReason] = [0, 0, false, false, ""];
  const events: WatchEvent[] = [];
  for (const { number, integer, bytes } of fieldsOf(message)) {
    if (number === 1) revision = readRevision(bytes);
    else if (number === 3) created = integer !== 0n;
    else if (number === 4) canceled = integer !== 0n;
    else if (number === 5) compactRevision = Number(integer);
    else if (number === 6) cancelReason = bytes.toString();
    else if (number === 11) events.push(readEvent(bytes));
  }
  return { revision, created, canceled, compactRevision, cancelReason, events };
}

function readEvent(message: Buffer): WatchEvent {
  let type: WatchEvent["type"] = "put";
  let kv = readKeyValue(Buffer.alloc(0));
  for (const { number, integer, bytes } of fieldsOf(message)) {
    if (number === 1) type = integer === deleteEvent ? "delete" : "put";
    else if (number === 2) kv = readKeyValue(bytes);
  }
  return { type, kv };
}

function readKeyValue(message: Buffer): KeyValue {
  let [key, createRevision, modRevision, lease] = ["", 0, 0, 0n];
  let value: Buffer = Buffer.alloc(0);
  for (const { number, integer, bytes } of fieldsOf(message)) {
    if (number === 1) key = bytes.toString();
    else if (number === 2) createRevision = Number(integer);
    else if (number === 3) modRevision = Number(integer);
    else if (number === 5) value = bytes;
    else if (number === 6) lease = integer;
  }
  return { key, value, createRevision, modRevision, lease };
}

function readRevision(header: Buffer): number {
  for (const { number, integer } of fieldsOf(header)) if (number === 3) return Number(integer);
  return 0;
}

import { foldKeys, formatGoJson } from "../../../shared/base/go_json.ts";
import { isDeeperThan, isJsonObject, parseJson } from "../../../shared/base/json.ts";
import type { Json, JsonObject } from "../../../shared/base/json.ts";
import { quote } from "../../../shared/base/text.ts";
import type { KeyValue } from "../../../shared/etcd/messages.ts";
import { deepestData } from "../../../shared/flannel/lease.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import { formatAddress, parseAddress, sameAddress } from "../../../shared/net/address.ts";
import type { Address, Family } from "../../../shared/net/address.ts";
import { formatCidr, parseCidr, sameCidr, subnetOf } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import { NetError } from "../../../shared/net/error.ts";
import type { LeaseState } from "./etcd_state_file.ts";

/** A key or a value in etcd is wrong. The message is a clause to follow a colon. */
export class EntryError extends Error {
  override readonly name = "EntryError";
}

/** The subnets of one node. */
export interface Subnets {
  readonly subnet: Cidr;
  readonly subnetV6: Cidr | undefined;
}

/** The last part of a key: "10.244.16.0-24", or "10.244.16.0-24&fd00:244:0:2::-64". */
export function formatSubnetKey({ subnet, subnetV6 }: Subnets): string {
  return subnetV6 === undefined
    ? formatPart(subnet)
    : `${formatPart(subnet)}&${formatPart(subnetV6)}`;
}

function formatPart(cidr: Cidr): string {
  return formatCidr(cidr).replace("/", "-");
}

/** @throws EntryError */
export function parseSubnetKey(key: string): Subnets {
  const [first = "", second, more] = key.split("&");
  const subnet = parsePart(first, 4);
  const subnetV6 = second === undefined ? undefined : parsePart(second, 6);
  if (subnet === undefined || more !== undefined || (second !== undefined && !subnetV6)) {
    throw new EntryError(`its key must be a subnet such as 10.244.16.0-24 (got ${quote(key)})`);
  }
  return { subnet, subnetV6 };
}

function parsePart(text: string, family: Family): Cidr | undefined {
  const dash = text.lastIndexOf("-");
  try {
    const cidr = parseCidr(`${text.slice(0, Math.max(dash, 0))}/${text.slice(dash + 1)}`);
    return cidr.address.family === family && sameCidr(cidr, subnetOf(cidr)) ? cidr : undefined;
  } catch (error) {
    if (error instanceof NetError) return undefined;
    throw error;
  }
}

/** The value of a key. What a backend does not publish is left out, as flannel does. */
export function formatAttributes(attributes: LeaseAttributes): string {
  const { publicIp, publicIpv6, backendType, backendData, backendV6Data } = attributes;
  return formatGoJson({
    PublicIP: publicIp === undefined ? "0.0.0.0" : formatAddress(publicIp),
    PublicIPv6: publicIpv6 === undefined ? null : formatAddress(publicIpv6),
    ...(backendType === "" ? {} : { BackendType: backendType }),
    ...(backendData === undefined ? {} : { BackendData: backendData }),
    ...(backendV6Data === undefined ? {} : { BackendV6Data: backendV6Data }),
  });
}

const keys = ["PublicIP", "PublicIPv6", "BackendType", "BackendData", "BackendV6Data"];

/** @throws EntryError */
export function parseAttributes(text: string): LeaseAttributes {
  const json = parseJson(text);
  if (!isJsonObject(json))
    throw new EntryError(`its value must be a JSON object (got ${quote(text)})`);
  const { object } = foldKeys(json, keys);
  return {
    publicIp: addressAt(object, "PublicIP", 4),
    publicIpv6: addressAt(object, "PublicIPv6", 6),
    backendType: textAt(object, "BackendType"),
    backendData: dataAt(object, "BackendData"),
    backendV6Data: dataAt(object, "BackendV6Data"),
  };
}

function addressAt(object: JsonObject, key: string, family: Family): Address | undefined {
  const text = textAt(object, key);
  if (text === "") return undefined;
  try {
    const address = parseAddress(text);
    if (address.family === family) return address.value === 0n ? undefined : address;
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
  }
  throw new EntryError(`its ${key} must be an IPv${family} address (got ${quote(text)})`);
}

function textAt(object: JsonObject, key: string): string {
  const value: Json | undefined = object[key];
  if (value === undefined || typeof value === "string") return value ?? "";
  throw new EntryError(`its ${key} must be a string (got ${quote(JSON.stringify(value))})`);
}

function dataAt(object: JsonObject, key: string): Json | undefined {
  const data = object[key];
  if (isDeeperThan(data, deepestData)) throw new EntryError(`its ${key} is nested too deep`);
  return data;
}

/** An entry as a lease. @param id the last part of its key. @throws EntryError */
export function readLease(id: string, { value, createRevision }: KeyValue): Lease {
  const attributes = parseAttributes(value.toString("utf8"));
  return { id, ...parseSubnetKey(id), attributes, since: createRevision };
}

/** A node's own entry as it is in etcd. */
export interface OwnEntry {
  readonly id: string;
  readonly subnets: Subnets;
  readonly modRevision: number;
  readonly createRevision: number;
  /** 0 for a reservation, which never ends. */
  readonly lease: bigint;
}

export interface Entry extends OwnEntry {
  readonly value: string;
  /** Undefined if the value is wrong: the subnet is taken nevertheless. */
  readonly attributes: LeaseAttributes | undefined;
}

/** Reads an entry as far as possible. @returns undefined if its key does not name a subnet. */
export function readEntry(id: string, kv: KeyValue): Entry | undefined {
  const { modRevision, createRevision, lease } = kv;
  const value = kv.value.toString("utf8");
  const subnets = ifReadable(() => parseSubnetKey(id));
  if (subnets === undefined) return undefined;
  const attributes = ifReadable(() => parseAttributes(value));
  return { id, subnets, modRevision, createRevision, lease, value, attributes };
}

/**
 * The entry that is this node's: by the etcd lease that it was given, as nobody else has its number,
 * or else by the address that it tells peers.
 */
export function findOwnEntry(
  entries: readonly Entry[],
  state: LeaseState | undefined,
  publicIp: Address | undefined,
): Entry | undefined {
  const given = entries.find(({ id, lease }) => state?.id === id && state.lease === lease);
  if (given !== undefined || publicIp === undefined) return given;
  return entries.find(({ attributes }) => {
    const address = attributes?.publicIp;
    return address !== undefined && sameAddress(address, publicIp);
  });
}

function ifReadable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof EntryError) return undefined;
    throw error;
  }
}

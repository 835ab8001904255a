import { formatAddress, parseAddress } from "../net/address.ts";
import type { Family } from "../net/address.ts";
import { formatCidr, parseCidr } from "../net/cidr.ts";
import { isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";
import {
  validateResult020,
  validateResult040,
  validateResult110,
} from "../../schemas/generated/validators.js";
import type { Result020, Result040, Result110 } from "../../schemas/generated/types.ts";
import { validate } from "./conf.ts";
import { CniError, Code } from "./error.ts";
import { messageOf } from "../base/failure.ts";
import { quote } from "../base/text.ts";
import type { Verb } from "./request.ts";
import type { Dns, IpConfig, Result, Route } from "./result.ts";

/** The CNI versions spoken, oldest first. */
export const versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

export type Version = (typeof versions)[number];

/**
 * The version of a config; one without is 0.1.0, as libcni has it.
 * @throws CniError IncompatibleVersion for one that is not spoken, DecodingFailure for no string.
 */
export function versionOf(value: JsonObject): Version {
  const text = value["cniVersion"] ?? "";
  if (typeof text !== "string") {
    throw new CniError(
      Code.DecodingFailure,
      "Cannot read the network config: cniVersion is no string.",
      'Write cniVersion in quotes, such as "1.0.0".',
    );
  }
  const version = text === "" ? "0.1.0" : versions.find((known) => known === text);
  if (version !== undefined) return version;
  throw new CniError(
    Code.IncompatibleVersion,
    `Cannot use the network config: its cniVersion is ${quote(text)}, which this plugin does not speak.`,
    `Set cniVersion to one of ${versions.join(", ")}.`,
  );
}

/** The version that brought each verb. */
const verbSince: Readonly<Record<Verb, Version>> = {
  ADD: "0.1.0",
  DEL: "0.1.0",
  VERSION: "0.1.0",
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
};

/** Whether a version has a verb. */
export function hasVerb(version: Version, verb: Verb): boolean {
  return atLeast(version, verbSince[verb]);
}

/**
 * Refuses a verb that a config's version does not have.
 * @param where names the config for the advice: "the network config".
 * @throws CniError IncompatibleVersion
 */
export function requireVerb(version: Version, verb: Verb, where: string): void {
  if (hasVerb(version, verb)) return;
  throw new CniError(
    Code.IncompatibleVersion,
    `Cannot run ${verb}: cniVersion must be ${verbSince[verb]} or later (got ${quote(version)}).`,
    `Set cniVersion to ${verbSince[verb]} or later in ${where}.`,
  );
}

/** Whether `version` is `other` or a later one. */
export function atLeast(version: Version, other: Version): boolean {
  return versions.indexOf(version) >= versions.indexOf(other);
}

/**
 * Reads a result in any version: a prevResult, or what a delegate printed.
 * @param fallback the version of one that does not say its own.
 * @param what names it in messages.
 * @throws CniError InvalidNetworkConfig, IncompatibleVersion
 */
export function readResult(value: JsonObject, fallback: Version, what: string): Result {
  const version = value["cniVersion"] === undefined ? fallback : versionOf(value);
  try {
    if (!atLeast(version, "0.3.0")) return from020(validate(validateResult020, value, what));
    if (!atLeast(version, "1.0.0")) return fromIps(validate(validateResult040, value, what));
    return fromIps(validate(validateResult110, value, what));
  } catch (cause) {
    if (cause instanceof CniError) throw cause;
    throw new CniError(
      Code.InvalidNetworkConfig,
      `Cannot read ${what}: ${messageOf(cause)}.`,
      "The plugin that made it, or the runtime's cache of it, is broken. Delete and recreate the pod.",
      { cause },
    );
  }
}

/**
 * Sees that a version can say a result, while what was made can still be undone.
 * @throws CniError InvalidNetworkConfig: 0.2.0 and below know nothing but addresses.
 */
export function checkExpressible(result: Result, version: Version): void {
  if (atLeast(version, "0.3.0") || result.ips.length > 0) return;
  throw new CniError(
    Code.InvalidNetworkConfig,
    `Cannot give the result: it has no address, and CNI ${version} can say nothing else.`,
    "Set cniVersion to 0.3.0 or later, or give the network an ipam section.",
  );
}

/** Writes a result in a version that can say it ({@link checkExpressible}). */
export function writeResult(result: Result, version: Version): JsonObject {
  const body = atLeast(version, "0.3.0") ? toIps(result, version) : to020(result);
  return { cniVersion: version, ...body, dns: plainDns(result.dns) };
}

function from020(value: Result020): Result {
  const ips: IpConfig[] = [];
  const routes: Route[] = [];
  for (const entry of [value.ip4, value.ip6]) {
    if (entry === undefined || entry === null) continue;
    const gateway = entry.gateway ?? "";
    ips.push({
      address: parseCidr(entry.ip),
      ...(gateway === "" ? {} : { gateway: parseAddress(gateway) }),
    });
    routes.push(...(entry.routes ?? []).map(readRoute));
  }
  return { interfaces: [], ips, routes, dns: readDns(value.dns) };
}

function fromIps(value: Result040 | Result110): Result {
  return {
    interfaces: (value.interfaces ?? []).map((entry) => ({
      name: entry.name,
      ...textAs("mac", entry.mac),
      ...textAs("sandbox", entry.sandbox),
      ...("mtu" in entry && typeof entry.mtu === "number" ? { mtu: entry.mtu } : {}),
      ...("socketPath" in entry ? textAs("socketPath", entry.socketPath) : {}),
      ...("pciID" in entry ? textAs("pciID", entry.pciID) : {}),
    })),
    ips: (value.ips ?? []).map((entry) => ({
      address: parseCidr(entry.address),
      ...(typeof entry.interface === "number" ? { interface: entry.interface } : {}),
      ...(entry.gateway === undefined || entry.gateway === null || entry.gateway === ""
        ? {}
        : { gateway: parseAddress(entry.gateway) }),
    })),
    routes: (value.routes ?? []).map(readRoute),
    dns: readDns(value.dns),
  };
}

function textAs<K extends string>(key: K, value: unknown): { [P in K]?: string } {
  const entry: { [P in K]?: string } = {};
  if (typeof value === "string" && value !== "") entry[key] = value;
  return entry;
}

/** What a route looks like in a result or in an IPAM config, in any version. */
interface PlainRoute {
  dst: string;
  gw?: string | null;
  mtu?: number | null;
  advmss?: number | null;
  priority?: number | null;
  table?: number | null;
  scope?: number | null;
}

/** Reads a route as configs and results have it. @throws NetError for an address that is none. */
export function readRoute(route: PlainRoute): Route {
  const { dst, gw, mtu, advmss, priority, table, scope } = route;
  return {
    dst: parseCidr(dst),
    ...(gw === undefined || gw === null || gw === "" ? {} : { gw: parseAddress(gw) }),
    ...(typeof mtu === "number" ? { mtu } : {}),
    ...(typeof advmss === "number" ? { advmss } : {}),
    ...(typeof priority === "number" ? { priority } : {}),
    ...(typeof table === "number" ? { table } : {}),
    ...(typeof scope === "number" ? { scope } : {}),
  };
}

interface PlainDns {
  nameservers?: string[] | null;
  domain?: string | null;
  search?: string[] | null;
  options?: string[] | null;
}

function list(value: string[] | null | undefined): string[] {
  return value ?? [];
}

/** Reads dns settings; empty ones are as good as none. */
export function readDns(dns: PlainDns | null | undefined): Dns {
  const { nameservers, domain, search, options } = dns ?? {};
  return {
    ...(list(nameservers).length > 0 ? { nameservers: list(nameservers) } : {}),
    ...(typeof domain === "string" && domain !== "" ? { domain } : {}),
    ...(list(search).length > 0 ? { search: list(search) } : {}),
    ...(list(options).length > 0 ? { options: list(options) } : {}),
  };
}

function plainDns(dns: Dns): JsonObject {
  return { ...dns };
}

/** The fields of interfaces, ips and routes by the version that brought them. */
function toIps(result: Result, version: Version): JsonObject {
  const newest = atLeast(version, "1.1.0");
  const interfaces = result.interfaces.map(({ name, mac, mtu, sandbox, socketPath, pciID }) => ({
    name,
    ...(mac === undefined ? {} : { mac }),
    ...(mtu === undefined || !newest ? {} : { mtu }),
    ...(sandbox === undefined ? {} : { sandbox }),
    ...(socketPath === undefined || !newest ? {} : { socketPath }),
    ...(pciID === undefined || !newest ? {} : { pciID }),
  }));
  const ips = result.ips.map((ip) => ({
    ...(atLeast(version, "1.0.0") ? {} : { version: String(ip.address.address.family) }),
    ...(ip.interface === undefined ? {} : { interface: ip.interface }),
    address: formatCidr(ip.address),
    ...(ip.gateway === undefined ? {} : { gateway: formatAddress(ip.gateway) }),
  }));
  const routes = result.routes.map((route) => plainRoute(route, newest));
  return {
    ...(interfaces.length === 0 ? {} : { interfaces }),
    ...(ips.length === 0 ? {} : { ips }),
    ...(routes.length === 0 ? {} : { routes }),
  };
}

/** A route as results have it. The fields of 1.1.0 are left out before it. */
function plainRoute(route: Route, newest: boolean): JsonObject {
  const { dst, gw, mtu, advmss, priority, table, scope } = route;
  const plain: Record<string, Json> = { dst: formatCidr(dst) };
  if (gw !== undefined) plain["gw"] = formatAddress(gw);
  if (!newest) return plain;
  for (const [key, value] of Object.entries({ mtu, advmss, priority, table, scope })) {
    if (value !== undefined) plain[key] = value;
  }
  return plain;
}

/** 0.2.0 and below know one address of each family, each with the routes of its own. */
function to020(result: Result): JsonObject {
  const entry = (family: Family): JsonObject | undefined => {
    const ip = result.ips.find(({ address }) => address.address.family === family);
    if (ip === undefined) return undefined;
    const routes = result.routes
      .filter(({ dst }) => dst.address.family === family)
      .map((route) => plainRoute(route, false));
    return {
      ip: formatCidr(ip.address),
      ...(ip.gateway === undefined ? {} : { gateway: formatAddress(ip.gateway) }),
      ...(routes.length === 0 ? {} : { routes }),
    };
  };
  const ip4 = entry(4);
  const ip6 = entry(6);
  return { ...(ip4 === undefined ? {} : { ip4 }), ...(ip6 === undefined ? {} : { ip6 }) };
}

/** The prevResult of a config, if there is one. @throws CniError InvalidNetworkConfig */
export function readPrevResult(raw: JsonObject, version: Version): Result | undefined {
  const value = raw["prevResult"];
  if (value === undefined || value === null) return undefined;
  if (!isJsonObject(value)) {
    throw new CniError(
      Code.InvalidNetworkConfig,
      "Cannot use the network config: its prevResult is no object.",
      "The runtime made this call wrongly. Its log says more.",
    );
  }
  return readResult(value, version, "prevResult");
}

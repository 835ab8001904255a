import { formatAddress, parseAddress } from "../net/address.ts";
import type { Family } from "../net/address.ts";
import { formatCidr, parseCidr } from "../net/cidr.ts";
import { isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";
import { withExactKeys } from "../base/json_keys.ts";
import {
  validateResult020,
  validateResult040,
  validateResult110,
} from "../../schemas/generated/validators.js";
import type { Result020, Result040, Result110 } from "../../schemas/generated/types.ts";
import { badConfig, parseAt, validate } from "./conf.ts";
import type { Validator } from "./conf.ts";
import { CniError, Code } from "./error.ts";
import type { Dns, IpConfig, Result, Route } from "./result.ts";
import { atLeast, versionOf } from "./version.ts";
import type { Version } from "./version.ts";

/** What a value is part of, for the messages about it. */
interface Source {
  /** "prevResult", or what names the result otherwise. */
  readonly what: string;
  /** What to do about a wrong value. */
  readonly advice: string;
}

const prevResult: Source = {
  what: "prevResult",
  advice:
    "The runtime passes prevResult, from the plugin before or from its cache: see its log, or delete and recreate the pod.",
};

/**
 * Reads a result in any version.
 * @param fallback the version of one that does not say its own.
 * @param source names it in messages.
 * @throws CniError InvalidNetworkConfig, IncompatibleVersion
 */
export function readResult(value: JsonObject, fallback: Version, source: Source): Result {
  const { cniVersion } = withExactKeys(value, validateResult110.keys);
  const version = cniVersion === undefined ? fallback : versionOf({ cniVersion }, source.what);
  if (!atLeast(version, "0.3.0")) return from020(valid(validateResult020, value, source), source);
  if (!atLeast(version, "1.0.0")) return fromIps(valid(validateResult040, value, source), source);
  return fromIps(valid(validateResult110, value, source), source);
}

function valid<T>(validator: Validator<T>, value: JsonObject, { what, advice }: Source): T {
  return validate(validator, withExactKeys(value, validator.keys), what, advice);
}

/** The prevResult of a config, if it has one. @throws CniError InvalidNetworkConfig */
export function readPrevResult(raw: JsonObject, version: Version): Result | undefined {
  const value = raw["prevResult"];
  if (value === undefined || value === null) return undefined;
  if (isJsonObject(value)) return readResult(value, version, prevResult);
  throw badConfig("", value, "must be an object", prevResult.what, prevResult.advice);
}

/**
 * Makes sure that a version can express a result, while the ADD can still be undone.
 * @throws CniError InvalidNetworkConfig: before 0.3.0 a result is its addresses.
 */
export function checkExpressible(result: Result, version: Version): void {
  if (atLeast(version, "0.3.0") || result.ips.length > 0) return;
  throw new CniError(
    Code.InvalidNetworkConfig,
    `Cannot print the result: in CNI ${version} it must have an address.`,
    "Set cniVersion to 0.3.0 or later, or add ipam to the network config.",
  );
}

/** Writes a result in a version that can express it ({@link checkExpressible}). */
export function writeResult(result: Result, version: Version): JsonObject {
  const body = atLeast(version, "0.3.0") ? toIps(result, version) : to020(result);
  return { cniVersion: version, ...body, dns: plainDns(result.dns) };
}

function from020(value: Result020, source: Source): Result {
  const ips: IpConfig[] = [];
  const routes: Route[] = [];
  for (const key of ["ip4", "ip6"] as const) {
    const entry = value[key];
    if (entry === undefined || entry === null) continue;
    ips.push(readIp({ ...entry, address: entry.ip }, { key, addressKey: "ip", source }));
    routes.push(...readRoutes(entry.routes, `${key}.routes`, source));
  }
  return { interfaces: [], ips, routes, dns: readDns(value.dns) };
}

function fromIps(value: Result040 | Result110, source: Source): Result {
  return {
    interfaces: (value.interfaces ?? []).map((entry) => ({
      name: entry.name,
      ...textAs("mac", entry.mac),
      ...textAs("sandbox", entry.sandbox),
      ...("mtu" in entry && typeof entry.mtu === "number" ? { mtu: entry.mtu } : {}),
      ...("socketPath" in entry ? textAs("socketPath", entry.socketPath) : {}),
      ...("pciID" in entry ? textAs("pciID", entry.pciID) : {}),
    })),
    ips: (value.ips ?? []).map((entry, at) =>
      readIp(entry, { key: `ips[${String(at)}]`, addressKey: "address", source }),
    ),
    routes: readRoutes(value.routes, "routes", source),
    dns: readDns(value.dns),
  };
}

function readIp(
  entry: { address: string; gateway?: string | null; interface?: number | null },
  { key, addressKey, source }: { key: string; addressKey: string; source: Source },
): IpConfig {
  const { what, advice } = source;
  const gateway = entry.gateway ?? "";
  return {
    address: parseAt(parseCidr, entry.address, `${key}.${addressKey}`, what, advice),
    ...(typeof entry.interface === "number" ? { interface: entry.interface } : {}),
    ...(gateway === ""
      ? {}
      : { gateway: parseAt(parseAddress, gateway, `${key}.gateway`, what, advice) }),
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

/**
 * Reads routes as configs and results have them. A 0 counts as absent, as in Go, except for a table or
 * a scope.
 * @param path where they are.
 * @throws CniError InvalidNetworkConfig
 */
export function readRoutes(
  routes: readonly PlainRoute[] | null | undefined,
  path: string,
  { what, advice }: { readonly what: string; readonly advice?: string },
): Route[] {
  return (routes ?? []).map(({ dst, gw, mtu, advmss, priority, table, scope }, at) => {
    const gateway = gw ?? "";
    return {
      dst: parseAt(parseCidr, dst, `${path}[${String(at)}].dst`, what, advice),
      ...(gateway === ""
        ? {}
        : { gw: parseAt(parseAddress, gateway, `${path}[${String(at)}].gw`, what, advice) }),
      ...numberAs("mtu", mtu === 0 ? undefined : mtu),
      ...numberAs("advmss", advmss === 0 ? undefined : advmss),
      ...numberAs("priority", priority === 0 ? undefined : priority),
      ...numberAs("table", table),
      ...numberAs("scope", scope),
    };
  });
}

function numberAs<K extends string>(key: K, value: unknown): { [P in K]?: number } {
  const entry: { [P in K]?: number } = {};
  if (typeof value === "number") entry[key] = value;
  return entry;
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
  const routes = result.routes.map(plainRoute);
  return {
    ...(interfaces.length === 0 ? {} : { interfaces }),
    ...(ips.length === 0 ? {} : { ips }),
    ...(routes.length === 0 ? {} : { routes }),
  };
}

/**
 * A route as results have it from 0.3.0 on. The fields that 1.1.0 brought are there in all of those
 * versions, as with the reference: a main plugin needs them whatever the version.
 */
function plainRoute(route: Route): JsonObject {
  const { mtu, advmss, priority, table, scope } = route;
  const plain: Record<string, Json | undefined> = { ...oldRoute(route) };
  for (const [key, value] of Object.entries({ mtu, advmss, priority, table, scope })) {
    if (value !== undefined) plain[key] = value;
  }
  return plain;
}

/** A route before 0.3.0. */
function oldRoute({ dst, gw }: Route): JsonObject {
  return { dst: formatCidr(dst), ...(gw === undefined ? {} : { gw: formatAddress(gw) }) };
}

/** 0.2.0 and below know one address of each family, each with its own routes. */
function to020(result: Result): JsonObject {
  const entry = (family: Family): JsonObject | undefined => {
    const ip = result.ips.find(({ address }) => address.address.family === family);
    if (ip === undefined) return undefined;
    const routes = result.routes.filter(({ dst }) => dst.address.family === family).map(oldRoute);
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

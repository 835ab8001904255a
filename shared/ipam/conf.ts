import { argPath, badConfig, parseAt, validate } from "../cni/conf.ts";
import { idProblem, readArgs } from "../cni/request.ts";
import type { Request } from "../cni/request.ts";
import type { Route } from "../cni/result.ts";
import { readRoutes } from "../cni/result_codec.ts";
import { atLeast, versionOf } from "../cni/version.ts";
import { parseAddress } from "../net/address.ts";
import type { Address } from "../net/address.ts";
import { parseCidr } from "../net/cidr.ts";
import { isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";
import { withExactKeys } from "../base/json_keys.ts";
import type { HostLocalConf } from "../../schemas/generated/types.ts";
import { validateHostLocal } from "../../schemas/generated/validators.js";
import { badRange, makeRange, makeRangeSet, refuseOverlaps, what } from "./ranges.ts";
import type { Range, RangeSet } from "./ranges.ts";
import { networksFolder } from "../files/paths.ts";

/** What host-local takes from the calling plugin's config, of which it is given the whole. */
export interface HostLocalConfig {
  /** The folder of the network's reservations. */
  readonly folder: string;
  /** Each gives one address. Empty for DEL and GC, which work whatever the ranges are. */
  readonly rangeSets: readonly RangeSet[];
  /** Addresses that ADD must give, each in place of another of its range set. */
  readonly requested: readonly Address[];
  readonly routes: readonly Route[];
  /** The file to take the result's dns from. */
  readonly resolvConf: string | undefined;
}

/**
 * Reads the config. DEL and GC need only the folder, so that addresses can be released when the
 * config is broken.
 * @throws CniError InvalidNetworkConfig
 */
export function parseConf(conf: JsonObject, request: Request): HostLocalConfig {
  const raw = withExactKeys(conf, validateHostLocal.keys);
  const folder = networkFolder(raw);
  if (request.verb === "DEL" || request.verb === "GC") {
    return { folder, rangeSets: [], requested: [], routes: [], resolvConf: undefined };
  }
  const valid = validate(validateHostLocal, raw, what);
  const rangeSets = readRangeSets(valid);
  refuseOldVersion(raw, rangeSets);
  return {
    folder,
    rangeSets,
    requested: readRequested(valid, request),
    routes: readRoutes(valid.ipam.routes, "ipam.routes", { what }),
    resolvConf: present(valid.ipam.resolvConf),
  };
}

/** The folder of a network's reservations. Both its parts come from the config. */
function networkFolder(raw: JsonObject): string {
  const name = stringOf("name", raw["name"]) ?? "";
  const problem = name === "" ? "must be set" : idProblem(name);
  if (problem !== undefined) throw badConfig("name", name, problem, what);
  const ipam = raw["ipam"];
  const dataDir =
    stringOf("ipam.dataDir", isJsonObject(ipam) ? ipam["dataDir"] : undefined) ?? networksFolder;
  const parts = dataDir.split("/").filter((part) => part !== "" && part !== ".");
  if (!dataDir.startsWith("/") || parts.includes("..") || dataDir.includes("\0")) {
    throw badRange(
      "ipam.dataDir",
      dataDir,
      "must be an absolute path without '..'",
      `Write the whole path, or leave it out for ${networksFolder}.`,
    );
  }
  return ["", ...parts, name].join("/");
}

/** Set by set: those of the runtime, the one in ipam itself, those of ipam.ranges. */
function readRangeSets({ ipam, runtimeConfig }: HostLocalConf): RangeSet[] {
  const sets = [
    ...readSets(runtimeConfig?.ipRanges, "runtimeConfig.ipRanges"),
    ...(present(ipam.subnet) === undefined
      ? []
      : [makeRangeSet([readRange(ipam, "ipam")], "ipam")]),
    ...readSets(ipam.ranges, "ipam.ranges"),
  ];
  if (sets.length === 0) {
    throw badRange(
      "ipam",
      undefined,
      "must have ranges to give addresses from",
      'Add them: "ranges": [[{"subnet": "10.244.1.0/24"}]].',
    );
  }
  refuseOverlaps(sets);
  return sets;
}

function readSets(sets: readonly PlainRange[][] | null | undefined, where: string): RangeSet[] {
  return (sets ?? []).map((ranges, index) => {
    const path = `${where}[${String(index)}]`;
    return makeRangeSet(
      ranges.map((range, at) => readRange(range, `${path}[${String(at)}]`)),
      path,
    );
  });
}

interface PlainRange {
  subnet?: string | null;
  rangeStart?: string | null;
  rangeEnd?: string | null;
  gateway?: string | null;
}

function readRange(range: PlainRange, where: string): Range {
  const address = (key: "rangeStart" | "rangeEnd" | "gateway"): Address | undefined => {
    const text = present(range[key]);
    return text === undefined ? undefined : parseAt(parseAddress, text, `${where}.${key}`, what);
  };
  return makeRange(
    {
      subnet: parseAt(parseCidr, range.subnet ?? "", `${where}.subnet`, what),
      start: address("rangeStart"),
      end: address("rangeEnd"),
      gateway: address("gateway"),
    },
    where,
  );
}

/** A result before CNI 0.3.0 has room for one address of each family. */
function refuseOldVersion(raw: JsonObject, sets: readonly RangeSet[]): void {
  const version = versionOf(raw);
  const families = new Set(sets.map(([range]) => range.subnet.address.family));
  if (atLeast(version, "0.3.0") || families.size === sets.length) return;
  throw badRange(
    "ipam",
    undefined,
    `must have one range set for each family with CNI ${version}`,
    "Set cniVersion to 0.3.0 or later, or remove range sets.",
  );
}

/** The addresses that CNI_ARGS, args and the capability `ips` ask for. */
function readRequested(conf: HostLocalConf, request: Request): Address[] {
  return [
    ...(readArgs(request).get("IP") ?? "")
      .split(",")
      .map((text) => ({ path: argPath("IP"), text })),
    ...(conf.args?.cni?.ips ?? []).map((text) => ({ path: "args.cni.ips", text })),
    ...(conf.runtimeConfig?.ips ?? []).map((text) => ({ path: "runtimeConfig.ips", text })),
  ].flatMap(({ path, text }) => (text === "" ? [] : parseAt(parseRequested, text, path, what)));
}

/** An address, with or without a prefix length. */
function parseRequested(text: string): Address {
  return text.includes("/") ? parseCidr(text).address : parseAddress(text);
}

/** A text that is not empty: Go's encoder writes an absent one as null or "". */
function present(text: string | null | undefined): string | undefined {
  return text === null || text === "" ? undefined : text;
}

function stringOf(path: string, value: Json | undefined): string | undefined {
  if (value === undefined || value === null || typeof value === "string") return present(value);
  throw badConfig(path, value, "must be a string", what);
}

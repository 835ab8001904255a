import { validate } from "../cni/conf.ts";
import { messageOf } from "../base/failure.ts";
import { idProblem } from "../cni/request.ts";
import { quote } from "../base/text.ts";
import type { Request } from "../cni/request.ts";
import type { Route } from "../cni/result.ts";
import { withSpecKeys } from "../cni/runtime_config.ts";
import { atLeast, readRoute, versionOf } from "../cni/version.ts";
import { parseAddress } from "../net/address.ts";
import type { Address } from "../net/address.ts";
import { parseCidr } from "../net/cidr.ts";
import { isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";
import type { HostLocalConf } from "../../schemas/generated/types.ts";
import { validateHostLocal } from "../../schemas/generated/validators.js";
import { invalid, makeRange, makeRangeSet, refuseOverlaps } from "./ranges.ts";
import type { Range, RangeSet } from "./ranges.ts";
import { networksFolder } from "../files/paths.ts";

/** What host-local makes of the calling plugin's config, of which it is given the whole. */
export interface HostLocalConfig {
  /** The folder of the network's reservations. */
  readonly folder: string;
  /** Each gives one address. DEL and GC have none, for they work whatever the ranges are. */
  readonly rangeSets: readonly RangeSet[];
  /** Addresses that ADD is to give, and no other of their sets. */
  readonly requested: readonly Address[];
  readonly routes: readonly Route[];
  /** The file that the result's dns comes from. */
  readonly resolvConf: string | undefined;
}

/** The folder of all networks if `dataDir` says nothing else, as the reference plugin has it. */

/**
 * Reads the config. For DEL and GC it takes no notice of the ranges and what belongs to them, so
 * that addresses can be given back when the config has gone bad.
 * @throws CniError InvalidNetworkConfig
 */
export function parseConf(raw: JsonObject, request: Request): HostLocalConfig {
  const folder = networkFolder(raw);
  if (request.verb === "DEL" || request.verb === "GC") {
    return { folder, rangeSets: [], requested: [], routes: [], resolvConf: undefined };
  }
  const conf = validate(validateHostLocal, withSpecKeys(raw), "the host-local config");
  const rangeSets = readRangeSets(conf);
  refuseOldVersion(raw, rangeSets);
  return {
    folder,
    rangeSets,
    requested: readRequested(conf, request.args),
    routes: (conf.ipam.routes ?? []).map((route, index) =>
      parsed(`ipam.routes[${String(index)}]`, () => readRoute(route)),
    ),
    resolvConf: present(conf.ipam.resolvConf),
  };
}

/** The folder of a network's reservations; both its parts come from the config. */
function networkFolder(raw: JsonObject): string {
  const name = textOf("name", raw["name"]) ?? "";
  const problem = idProblem(name);
  if (problem !== undefined) {
    throw invalid("name", `it is ${quote(name)}, which ${problem}`, "Correct the network's name.");
  }
  const ipam = raw["ipam"];
  const dataDir =
    textOf("ipam.dataDir", isJsonObject(ipam) ? ipam["dataDir"] : undefined) ?? networksFolder;
  const parts = dataDir.split("/").filter((part) => part !== "" && part !== ".");
  if (!dataDir.startsWith("/") || parts.includes("..") || dataDir.includes("\0")) {
    throw invalid(
      "ipam.dataDir",
      `it is ${quote(dataDir)}, which is not an absolute path without ".."`,
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
    throw invalid(
      "ipam",
      "it has no ranges to give addresses from",
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
    return text === undefined ? undefined : parsed(`${where}.${key}`, () => parseAddress(text));
  };
  return makeRange(
    {
      subnet: parsed(`${where}.subnet`, () => parseCidr(range.subnet ?? "")),
      start: address("rangeStart"),
      end: address("rangeEnd"),
      gateway: address("gateway"),
    },
    where,
  );
}

/** A result of 0.2.0 and below has room for one address of each family. */
function refuseOldVersion(raw: JsonObject, sets: readonly RangeSet[]): void {
  const version = versionOf(raw);
  const families = new Set(sets.map(([range]) => range.subnet.address.family));
  if (atLeast(version, "0.3.0") || families.size === sets.length) return;
  throw invalid(
    "the ranges",
    `they give more than one address of a family, which CNI ${version} cannot say`,
    "Set cniVersion to 0.3.0 or later, or have one range set for each family.",
  );
}

/** The addresses asked for by CNI_ARGS, by args and by the capability `ips`. */
function readRequested(conf: HostLocalConf, args: ReadonlyMap<string, string>): Address[] {
  return [
    ...(args.get("IP") ?? "").split(",").map((text) => ({ where: "IP in CNI_ARGS", text })),
    ...(conf.args?.cni?.ips ?? []).map((text) => ({ where: "args.cni.ips", text })),
    ...(conf.runtimeConfig?.ips ?? []).map((text) => ({ where: "runtimeConfig.ips", text })),
  ].flatMap(({ where, text }) => {
    if (text === "") return [];
    return parsed(where, () => (text.includes("/") ? parseCidr(text).address : parseAddress(text)));
  });
}

/** A text that says something: Go's encoder writes what is absent as null or "". */
function present(text: string | null | undefined): string | undefined {
  return text === null || text === "" ? undefined : text;
}

function textOf(where: string, value: Json | undefined): string | undefined {
  if (value === undefined || value === null || typeof value === "string") return present(value);
  throw invalid(where, "it is no text", "Put it in quotes.");
}

/** Says of what fails to parse where it is. */
function parsed<T>(where: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw invalid(where, messageOf(error), "Correct it in the network config (/etc/cni/net.d).");
  }
}

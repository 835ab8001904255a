import { validateNetConf } from "../../schemas/generated/validators.js";
import type { NetConfJson } from "../../schemas/generated/types.ts";
import { Failure, messageOf } from "../base/failure.ts";
import { pathOf, requirementOf, stepsOf } from "../base/schema_error.ts";
import { foldKeys } from "../base/go_json.ts";
import { isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";
import { quote } from "../base/text.ts";
import { formatAddress, parseAddress, widthOf } from "../net/address.ts";
import type { Address, Family } from "../net/address.ts";
import { contains, formatCidr, parseCidr, subnetOf } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { NetError } from "../net/error.ts";
import { countSubnets, isOnBoundary, nthSubnet } from "../net/subnets.ts";

/** net-conf.json with its defaults filled in. */
export interface NetConf {
  readonly enableIpv4: boolean;
  readonly enableIpv6: boolean;
  readonly enableNftables: boolean;
  /** Undefined where the family is not enabled. */
  readonly network: Cidr | undefined;
  readonly ipv6Network: Cidr | undefined;
  /** The subnets to choose from. Only in etcd mode does flanneld choose. */
  readonly subnets: SubnetRange | undefined;
  readonly ipv6Subnets: SubnetRange | undefined;
  /** In lower case. */
  readonly backendType: string;
  /** The Backend object with its keys in their usual letter case, for the backend to read. */
  readonly backend: JsonObject;
}

/** The subnets that a node may be given: of this length, from the first to the last. */
export interface SubnetRange {
  readonly length: number;
  readonly first: Cidr;
  readonly last: Cidr;
}

/** Where the config is from, which decides what it must contain. */
export interface NetConfSource {
  /** The path of net-conf.json, or "the key /coreos.com/network/config in etcd". */
  readonly name: string;
  /** Whether flanneld chooses the subnets, as it does with etcd. */
  readonly choosesSubnets: boolean;
}

const keys = [
  ...["EnableIPv4", "EnableIPv6", "EnableNFTables", "Network", "IPv6Network", "Backend"],
  ...["SubnetLen", "SubnetMin", "SubnetMax", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax"],
];

const backendKeys = [
  ...["Type", "VNI", "Port", "MTU", "GBP", "Learning", "DirectRouting", "MacPrefix", "Name"],
  ...["ListenPort", "ListenPortV6", "PSK", "PersistentKeepaliveInterval", "Mode"],
  ...["PreStartupCommand", "PostStartupCommand", "SubnetAddCommand", "SubnetRemoveCommand"],
];

/** What differs between the families. */
interface FamilyRules {
  readonly family: Family;
  readonly enable: "EnableIPv4" | "EnableIPv6";
  readonly network: "Network" | "IPv6Network";
  readonly length: "SubnetLen" | "IPv6SubnetLen";
  readonly min: "SubnetMin" | "IPv6SubnetMin";
  readonly max: "SubnetMax" | "IPv6SubnetMax";
  /** The prefix length of subnets, if the network has room for four of them. */
  readonly usualLength: number;
  /** The longest prefix of a network: it has four subnets of four addresses. */
  readonly longestNetwork: number;
}

const rules4: FamilyRules = {
  family: 4,
  enable: "EnableIPv4",
  network: "Network",
  length: "SubnetLen",
  min: "SubnetMin",
  max: "SubnetMax",
  usualLength: 24,
  longestNetwork: 28,
};
const rules6: FamilyRules = {
  family: 6,
  enable: "EnableIPv6",
  network: "IPv6Network",
  length: "IPv6SubnetLen",
  min: "IPv6SubnetMin",
  max: "IPv6SubnetMax",
  usualLength: 64,
  longestNetwork: 124,
};

/**
 * Reads the config of a network.
 * @returns it, and sentences about what in it has no effect.
 * @throws Failure invalid
 */
export function parseNetConf(
  text: string,
  source: NetConfSource,
): { readonly conf: NetConf; readonly warnings: readonly string[] } {
  const { object, unknown } = foldKeys(readObject(text, source), keys);
  const backend = foldKeys(backendOf(object, source), backendKeys);
  const json: JsonObject = { ...object, Backend: backend.object };
  if (!validateNetConf(json)) throw schemaFailure(source);
  const warnings = [...unknown, ...backend.unknown.map((key) => `Backend.${key}`)].map(
    (key) =>
      `${source.name} has a key ${quote(key)} that flanneld does not know; it has no effect.`,
  );
  return { conf: netConf(json, backend.object, source), warnings };
}

function readObject(text: string, source: NetConfSource): JsonObject {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (cause) {
    throw bad(source, "", `must be JSON (${messageOf(cause)})`, cause);
  }
  if (isJsonObject(value)) return value;
  throw bad(source, "", "must be a JSON object");
}

/** Without a Backend it is udp, in flannel. */
function backendOf({ Backend: backend }: JsonObject, source: NetConfSource): JsonObject {
  if (backend === undefined) return { Type: "udp" };
  if (isJsonObject(backend)) return backend;
  throw bad(source, "Backend", "must be an object");
}

function netConf(json: NetConfJson, backend: JsonObject, source: NetConfSource): NetConf {
  const enableIpv4 = json.EnableIPv4 ?? true;
  const enableIpv6 = json.EnableIPv6 ?? false;
  if (!enableIpv4 && !enableIpv6) {
    throw bad(source, "EnableIPv4", "must be true where EnableIPv6 is not");
  }
  if (source.choosesSubnets && !enableIpv4) {
    throw bad(source, "EnableIPv4", "must be true, for IPv6 alone takes the Kubernetes API");
  }
  const network = enableIpv4 ? networkOf(json, rules4, source) : undefined;
  const ipv6Network = enableIpv6 ? networkOf(json, rules6, source) : undefined;
  const range = (within: Cidr | undefined, rules: FamilyRules) =>
    within === undefined || !source.choosesSubnets
      ? undefined
      : rangeOf(json, within, rules, source);
  return {
    enableIpv4,
    enableIpv6,
    enableNftables: json.EnableNFTables ?? false,
    network,
    ipv6Network,
    subnets: range(network, rules4),
    ipv6Subnets: range(ipv6Network, rules6),
    backendType: (json.Backend?.Type ?? "").toLowerCase(),
    backend,
  };
}

function networkOf(json: NetConfJson, rules: FamilyRules, source: NetConfSource): Cidr {
  const text = json[rules.network] ?? "";
  if (text === "") {
    throw bad(source, rules.network, `must be set, or ${rules.enable} must be false`);
  }
  try {
    const network = subnetOf(parseCidr(text));
    if (network.address.family === rules.family && network.prefix > 0) return network;
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
  }
  throw bad(source, rules.network, `must be an IPv${rules.family} network (got ${quote(text)})`);
}

function rangeOf(
  json: NetConfJson,
  network: Cidr,
  rules: FamilyRules,
  source: NetConfSource,
): SubnetRange {
  const length = lengthOf(json, network, rules, source);
  const bound = (key: FamilyRules["min" | "max"], usual: bigint): Cidr => {
    const text = json[key] ?? "";
    const given = text === "" ? undefined : addressOf(text, rules.family);
    if (text === "" || given?.value === 0n) return nthSubnet(network, length, usual);
    if (given === undefined) {
      throw bad(source, key, `must be an IPv${rules.family} address (got ${quote(text)})`);
    }
    if (!contains(network, given)) {
      throw bad(source, key, `must be in ${rules.network} ${formatCidr(network)} (got ${text})`);
    }
    if (!isOnBoundary(given, length)) {
      const below = subnetOf({ address: given, prefix: length }).address;
      throw bad(
        source,
        key,
        `must begin a subnet of length ${length}, such as ${formatAddress(below)} (got ${text})`,
      );
    }
    return { address: given, prefix: length };
  };
  // The first subnet's first address is the network's own.
  const first = bound(rules.min, 1n);
  const last = bound(rules.max, countSubnets(network, length) - 1n);
  if (first.address.value > last.address.value) {
    throw bad(source, rules.min, `must not be above ${rules.max}`);
  }
  return { length, first, last };
}

function lengthOf(
  json: NetConfJson,
  { prefix }: Cidr,
  rules: FamilyRules,
  source: NetConfSource,
): number {
  const given = json[rules.length] ?? 0;
  if (given > 0 && given < prefix + 2) {
    throw bad(
      source,
      rules.length,
      `must be at least ${prefix + 2}, for four subnets in the network (got ${given})`,
    );
  }
  const longest = widthOf(rules.family) - 2;
  if (given > longest) throw bad(source, rules.length, `must be at most ${longest}`);
  if (given > 0) return given;
  if (prefix > rules.longestNetwork) {
    throw bad(source, rules.network, `must be /${rules.longestNetwork} or larger (got /${prefix})`);
  }
  return prefix + 2 <= rules.usualLength ? rules.usualLength : prefix + 2;
}

function addressOf(text: string, family: Family): Address | undefined {
  try {
    const address = parseAddress(text);
    return address.family === family ? address : undefined;
  } catch (error) {
    if (error instanceof NetError) return undefined;
    throw error;
  }
}

function schemaFailure(source: NetConfSource): Failure {
  const [error] = validateNetConf.errors ?? [];
  if (error === undefined) return bad(source, "", "must follow its schema");
  return bad(source, pathOf(stepsOf(error)), requirementOf(error));
}

function bad(source: NetConfSource, key: string, problem: string, cause?: unknown): Failure {
  const subject = key === "" ? "it" : key;
  return new Failure(
    "invalid",
    `Cannot use ${source.name}: ${subject} ${problem}.`,
    `Correct ${source.name}.`,
    { cause },
  );
}

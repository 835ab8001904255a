import { Failure } from "../../../shared/base/failure.ts";
import { formatGoJson } from "../../../shared/base/go_json.ts";
import { isDeeperThan } from "../../../shared/base/json.ts";
import type { Json } from "../../../shared/base/json.ts";
import { quote } from "../../../shared/base/text.ts";
import { deepestData } from "../../../shared/flannel/lease.ts";
import type { Lease, LeaseAttributes } from "../../../shared/flannel/lease.ts";
import { formatAddress, parseAddress } from "../../../shared/net/address.ts";
import type { Address, Family } from "../../../shared/net/address.ts";
import { parseCidr, subnetOf } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import { NetError } from "../../../shared/net/error.ts";
import { parseGoPattern, PatternError } from "../go_pattern.ts";
import type { NodeSettings } from "./lease_manager.ts";

const usualTypes = ["vxlan", "host-gw", "ipip", "extension", ""];

type Annotations = ReadonlyMap<string, string>;

/** A peer's annotations make no sense. The message is a clause to follow a colon. */
export class AnnotationError extends Error {
  override readonly name = "AnnotationError";
}

/** The names of flannel's annotations. */
export interface AnnotationKeys {
  readonly prefix: string;
  readonly managed: string;
  readonly backendType: string;
  readonly backendData: string;
  readonly backendV6Data: string;
  readonly publicIp: string;
  readonly publicIpv6: string;
  readonly publicIpOverwrite: string;
  readonly publicIpv6Overwrite: string;
  readonly nodePublicIp: string;
  readonly nodePublicIpv6: string;
  readonly iface: string;
  readonly ifaceRegex: string;
  readonly mtu: string;
}

/**
 * The annotations' names for a prefix, which may have one slash: "flannel.alpha.coreos.com" becomes
 * "flannel.alpha.coreos.com/backend-type", "example.com/net" becomes "example.com/net-backend-type".
 * @throws Failure invalid
 */
export function annotationKeys(prefix: string): AnnotationKeys {
  const withSlash = prefix.includes("/") ? prefix : `${prefix}/`;
  const whole = /[/-]$/.test(withSlash) ? withSlash : `${withSlash}-`;
  if (!/^[a-z0-9_-]+(?:\.[a-z0-9_-]+)+\/(?:[a-z0-9_-]+-)?$/.test(whole)) {
    throw new Failure(
      "invalid",
      `Cannot use --kube-annotation-prefix: it must be a domain name, with a slash and a word after it at most (got ${quote(prefix)}).`,
      "Give a prefix such as flannel.alpha.coreos.com or example.com/net.",
    );
  }
  return {
    prefix: whole,
    managed: `${whole}kube-subnet-manager`,
    backendType: `${whole}backend-type`,
    backendData: `${whole}backend-data`,
    backendV6Data: `${whole}backend-v6-data`,
    publicIp: `${whole}public-ip`,
    publicIpv6: `${whole}public-ipv6`,
    publicIpOverwrite: `${whole}public-ip-overwrite`,
    publicIpv6Overwrite: `${whole}public-ipv6-overwrite`,
    nodePublicIp: `${whole}node-public-ip`,
    nodePublicIpv6: `${whole}node-public-ipv6`,
    iface: `${whole}iface`,
    ifaceRegex: `${whole}iface-regex`,
    mtu: `${whole}mtu`,
  };
}

/** Which families the network has. */
export interface Families {
  readonly enableIpv4: boolean;
  readonly enableIpv6: boolean;
}

/** The annotations that a node publishes. */
export function formatAnnotations(
  keys: AnnotationKeys,
  attributes: LeaseAttributes,
  { enableIpv4, enableIpv6 }: Families,
): Record<string, string> {
  const { publicIp, publicIpv6, backendType, backendData, backendV6Data } = attributes;
  return {
    [keys.managed]: "true",
    [keys.backendType]: backendType,
    ...(enableIpv4 ? { [keys.backendData]: formatData(backendData, backendType) } : {}),
    ...(enableIpv4 && publicIp !== undefined ? { [keys.publicIp]: formatAddress(publicIp) } : {}),
    ...(enableIpv6 ? { [keys.backendV6Data]: formatGoJson(backendV6Data ?? null) } : {}),
    ...(enableIpv6 && publicIpv6 !== undefined
      ? { [keys.publicIpv6]: formatAddress(publicIpv6) }
      : {}),
  };
}

/** An extension without output publishes an empty text, in flannel. */
function formatData(data: Json | undefined, backendType: string): string {
  return data === undefined && backendType === "extension" ? "" : formatGoJson(data ?? null);
}

/** The attributes that a peer publishes. @throws AnnotationError */
export function readAttributes(keys: AnnotationKeys, annotations: Annotations): LeaseAttributes {
  return {
    publicIp: readAddress(annotations, keys.publicIp, 4),
    publicIpv6: readAddress(annotations, keys.publicIpv6, 6),
    backendType: shared(annotations.get(keys.backendType) ?? ""),
    backendData: readData(annotations, keys.backendData),
    backendV6Data: readData(annotations, keys.backendV6Data),
  };
}

/**
 * A peer's lease.
 * @throws AnnotationError
 */
export function readLease(
  keys: AnnotationKeys,
  name: string,
  annotations: Annotations,
  podCidrs: readonly string[],
  since: number,
): Lease {
  const subnets = readSubnets(podCidrs);
  return { id: name, ...subnets, attributes: readAttributes(keys, annotations), since };
}

/**
 * A node's subnets: one of each family at most.
 * @throws AnnotationError
 */
export function readSubnets(podCidrs: readonly string[]): Pick<Lease, "subnet" | "subnetV6"> {
  let [subnet, subnetV6]: (Cidr | undefined)[] = [];
  for (const text of podCidrs) {
    const found = readCidr(text);
    if (found.address.family === 4) {
      if (subnet !== undefined) throw new AnnotationError("it has several IPv4 subnets");
      subnet = found;
    } else {
      if (subnetV6 !== undefined) throw new AnnotationError("it has several IPv6 subnets");
      subnetV6 = found;
    }
  }
  return { subnet, subnetV6 };
}

/** What is set for a node by its annotations. @throws Failure invalid */
export function readSettings(keys: AnnotationKeys, annotations: Annotations): NodeSettings {
  const set = (key: string) => {
    const text = annotations.get(key) ?? "";
    return text === "" ? undefined : text;
  };
  const address = (key: string, family: Family) => {
    try {
      return readAddress(annotations, key, family);
    } catch (error) {
      if (error instanceof AnnotationError)
        throw badSetting(key, `must be an IPv${family} address`, annotations.get(key) ?? "", error);
      throw error;
    }
  };
  const [pattern, mtu] = [set(keys.ifaceRegex), set(keys.mtu)];
  if (pattern !== undefined) checkPattern(keys.ifaceRegex, pattern);
  if (mtu !== undefined && !/^[1-9]\d{2,4}$/.test(mtu)) {
    throw badSetting(keys.mtu, "must be a number of bytes", mtu);
  }
  return {
    publicIp: address(keys.nodePublicIp, 4),
    publicIpv6: address(keys.nodePublicIpv6, 6),
    iface: set(keys.iface),
    ifaceRegex: pattern,
    mtu: mtu === undefined ? undefined : Number(mtu),
  };
}

/** The addresses that peers are told instead of the interface's own. @throws AnnotationError */
export function readOverwrites(
  keys: AnnotationKeys,
  annotations: Annotations,
): Pick<LeaseAttributes, "publicIp" | "publicIpv6"> {
  return {
    publicIp: readAddress(annotations, keys.publicIpOverwrite, 4),
    publicIpv6: readAddress(annotations, keys.publicIpv6Overwrite, 6),
  };
}

/** Shares one string among equal ones: there may be thousands. */
function shared(text: string): string {
  return usualTypes.find((known) => known === text) ?? text;
}

function readAddress(annotations: Annotations, key: string, family: Family): Address | undefined {
  const text = annotations.get(key) ?? "";
  if (text === "") return undefined;
  try {
    const address = parseAddress(text);
    if (address.family === family) return address;
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
  }
  throw new AnnotationError(
    `${shortName(key)} must be an IPv${family} address (got ${quote(text)})`,
  );
}

function readCidr(text: string): Cidr {
  try {
    return subnetOf(parseCidr(text));
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
    throw new AnnotationError(`its podCIDR must be a subnet (got ${quote(text)})`, {
      cause: error,
    });
  }
}

function readData(annotations: Annotations, key: string): Json | undefined {
  const text = annotations.get(key);
  if (text === undefined || text === "") return undefined;
  let data: Json;
  try {
    data = JSON.parse(text) as Json;
  } catch (cause) {
    throw new AnnotationError(`${shortName(key)} must be JSON (got ${quote(text)})`, { cause });
  }
  if (isDeeperThan(data, deepestData)) {
    throw new AnnotationError(`${shortName(key)} is nested too deep (got ${quote(text)})`);
  }
  return data ?? undefined;
}

function checkPattern(key: string, pattern: string): void {
  try {
    parseGoPattern(pattern);
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    throw badSetting(key, error.message, pattern, error);
  }
}

function shortName(key: string): string {
  return `its annotation ${key.slice(key.indexOf("/") + 1)}`;
}

function badSetting(key: string, rule: string, text: string, cause?: unknown): Failure {
  return new Failure(
    "invalid",
    `Cannot use the annotation ${key} of this node: it ${rule} (got ${quote(text)}).`,
    "Correct the annotation (kubectl annotate node --overwrite).",
    { cause },
  );
}

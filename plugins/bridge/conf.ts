import { argPath, badConfig, parseAt, validate } from "../../shared/cni/conf.ts";
import { defaultBridge } from "../../shared/flannel/defaults.ts";
import { CniError } from "../../shared/cni/error.ts";
import { newIfnameProblem, readArgs } from "../../shared/cni/request.ts";
import type { Request } from "../../shared/cni/request.ts";
import type { Dns } from "../../shared/cni/result.ts";
import { readDns } from "../../shared/cni/result_codec.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import { formatMac, parseInterfaceMac } from "../../shared/net/mac.ts";
import type { BridgeConf } from "../../schemas/generated/types.ts";
import { validateBridge } from "../../schemas/generated/validators.js";

/** A bridge config with every default in place. */
export interface BridgeConfig {
  readonly network: string;
  readonly bridge: string;
  /** Whether the bridge gets the gateway's address of each subnet. */
  readonly isGateway: boolean;
  /** Whether the container gets default routes by those. Implies isGateway. */
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly ipMasq: boolean;
  readonly ipMasqBackend: "iptables" | "nftables" | undefined;
  /** Bytes; undefined for the kernel's choice. */
  readonly mtu: number | undefined;
  readonly hairpin: boolean;
  readonly promiscuous: boolean;
  /** The VLAN of an access port; undefined for none. */
  readonly vlan: number | undefined;
  /** The VLANs of a trunk port, as ranges in ascending order, without the one of an access port. */
  readonly trunk: readonly VlanRange[];
  /** Whether a port with VLANs stays in the bridge's default one as well. */
  readonly preserveDefaultVlan: boolean;
  /** Whether the container may send with its own MAC alone. */
  readonly macSpoofCheck: boolean;
  /** Whether the kernel looks for duplicates of IPv6 addresses, which takes a second or two. */
  readonly detectDuplicates: boolean;
  /** Whether the container's interface is left down, for something else to configure. */
  readonly leaveDown: boolean;
  /** Whether the container cannot reach other isolated ones of the bridge. */
  readonly isolated: boolean;
  /** The MAC asked for, for the container's interface. */
  readonly mac: string | undefined;
  /** Type of the IPAM plugin; undefined for layer 2 alone. */
  readonly ipam: string | undefined;
  readonly dns: Dns;
}

/** VLANs from `first` to `last`. */
export interface VlanRange {
  readonly first: number;
  readonly last: number;
}

const what = "the bridge config";
/** Bytes of a link's name, at most. */
const nameMax = 15;

/**
 * @param warn is told what is wrong with the config but does not matter to the verb: only ADD needs all
 *   of it, DEL and GC next to nothing.
 * @throws CniError InvalidNetworkConfig
 */
export function parseBridgeConf(
  raw: JsonObject,
  request: Request,
  warn: (problem: string) => void,
): BridgeConfig {
  const conf = validate(validateBridge, raw, what);
  const { verb } = request;
  const adds = verb === "ADD" || verb === "STATUS";
  const removes = verb === "DEL" || verb === "GC";
  const read = <T>(isNeeded: boolean, part: () => T, fallback: T): T => {
    try {
      return part();
    } catch (error) {
      if (isNeeded || !(error instanceof CniError)) throw error;
      warn(error.message);
      return fallback;
    }
  };
  const bridge = conf.bridge ?? defaultBridge;
  read(!removes, () => checkName(bridge), undefined);
  read(adds, () => checkTogether(conf, bridge), undefined);
  const vlan = conf.vlan ?? 0;
  const ipam = conf.ipam?.type ?? "";
  return {
    network: conf.name,
    bridge,
    isGateway: (conf.isGateway ?? false) || (conf.isDefaultGateway ?? false),
    isDefaultGateway: conf.isDefaultGateway ?? false,
    forceAddress: conf.forceAddress ?? false,
    ipMasq: conf.ipMasq ?? false,
    ipMasqBackend: conf.ipMasqBackend ?? undefined,
    mtu: conf.mtu === undefined || conf.mtu === null || conf.mtu === 0 ? undefined : conf.mtu,
    hairpin: conf.hairpinMode ?? false,
    promiscuous: conf.promiscMode ?? false,
    vlan: vlan === 0 ? undefined : vlan,
    trunk: read(!removes, () => readTrunk(conf, vlan), []),
    preserveDefaultVlan: conf.preserveDefaultVlan ?? true,
    macSpoofCheck: conf.macspoofchk ?? false,
    detectDuplicates: conf.enabledad ?? false,
    leaveDown: conf.disableContainerInterface ?? false,
    isolated: conf.portIsolation ?? false,
    mac: read(adds, () => requestedMac(conf, request), undefined),
    ipam: ipam === "" ? undefined : ipam,
    dns: readDns(conf.dns),
  };
}

function checkName(bridge: string): void {
  const problem = newIfnameProblem(bridge);
  if (problem !== undefined) throw badConfig("bridge", bridge, problem, what);
}

/** Refuses options that exclude each other. */
function checkTogether(conf: BridgeConf, bridge: string): void {
  if ((conf.hairpinMode ?? false) && (conf.promiscMode ?? false)) {
    throw badConfig("promiscMode", true, "must not be set together with hairpinMode", what);
  }
  if ((conf.disableContainerInterface ?? false) && (conf.ipam?.type ?? "") !== "") {
    throw badConfig("disableContainerInterface", true, "must not be set together with ipam", what);
  }
  const vlanLink = `${bridge}.${conf.vlan ?? 0}`;
  if ((conf.vlan ?? 0) !== 0 && Buffer.byteLength(vlanLink) > nameMax) {
    throw badConfig("bridge", bridge, `must be shorter, for its VLAN link is ${vlanLink}`, what);
  }
}

/** The reference's precedence: the runtime's capability, then args.cni, then CNI_ARGS. */
function requestedMac(conf: BridgeConf, request: Request): string | undefined {
  const asked = [
    { path: "runtimeConfig.mac", text: conf.runtimeConfig?.mac },
    { path: "args.cni.mac", text: conf.args?.cni?.mac },
    { path: argPath("MAC"), text: readArgs(request).get("MAC") },
  ].find(({ text }) => typeof text === "string" && text !== "");
  if (typeof asked?.text !== "string") return undefined;
  return formatMac(parseAt(parseInterfaceMac, asked.text, asked.path, what));
}

/**
 * The VLANs of vlanTrunk, where each entry has an id, or both ends of a range, or all three.
 * @param access the port's own VLAN, whose frames have no tag; 0 for none.
 */
function readTrunk(conf: BridgeConf, access: number): VlanRange[] {
  const vids = new Set<number>();
  for (const [at, entry] of (conf.vlanTrunk ?? []).entries()) {
    const path = `vlanTrunk[${at}]`;
    const { id, minID, maxID } = entry;
    const first = minID ?? undefined;
    const last = maxID ?? undefined;
    if (id !== undefined && id !== null) vids.add(id);
    if (first === undefined && last === undefined) continue;
    if (first === undefined)
      throw badConfig(`${path}.minID`, undefined, "must be set, as maxID is", what);
    if (last === undefined)
      throw badConfig(`${path}.maxID`, undefined, "must be set, as minID is", what);
    if (last < first)
      throw badConfig(`${path}.maxID`, last, `must not be less than minID, ${first}`, what);
    for (let vid = first; vid <= last; vid++) vids.add(vid);
  }
  vids.delete(access);
  const ranges: { first: number; last: number }[] = [];
  for (const vid of [...vids].toSorted((a, b) => a - b)) {
    const open = ranges.at(-1);
    if (open?.last === vid - 1) open.last = vid;
    else ranges.push({ first: vid, last: vid });
  }
  return ranges;
}

/** The link that has the gateway's addresses: the bridge, or the node's own one into its VLAN. */
export function gatewayLink({ bridge, vlan }: Pick<BridgeConfig, "bridge" | "vlan">): string {
  return vlan === undefined ? bridge : `${bridge}.${vlan}`;
}

/** Whether the bridge has to tell VLANs apart. */
export function usesVlans({ vlan, trunk }: Pick<BridgeConfig, "vlan" | "trunk">): boolean {
  return vlan !== undefined || trunk.length > 0;
}

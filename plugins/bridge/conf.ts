import { badConfig, validate } from "../../shared/cni/conf.ts";
import { CniError, Code, messageOf } from "../../shared/cni/error.ts";
import { ifnameProblem } from "../../shared/cni/request.ts";
import type { Request } from "../../shared/cni/request.ts";
import type { Dns } from "../../shared/cni/result.ts";
import { readDns } from "../../shared/cni/version.ts";
import type { JsonObject } from "../../shared/net/json.ts";
import { formatMac, parseMac } from "../../shared/net/mac.ts";
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
  /** The MAC asked for, for the container's interface. */
  readonly mac: string | undefined;
  /** Type of the IPAM plugin; undefined for layer 2 alone. */
  readonly ipam: string | undefined;
  readonly dns: Dns;
}

const what = "the bridge config";

/**
 * @throws CniError InvalidNetworkConfig, UnsupportedField
 */
export function parseBridgeConf(raw: JsonObject, request: Request): BridgeConfig {
  const conf = validate(validateBridge, raw, what);
  refuseUnsupported(conf);
  const bridge = conf.bridge ?? "cni0";
  const problem = bridge === "" ? "is empty" : ifnameProblem(bridge);
  if (problem !== undefined) throw badConfig("bridge", bridge, problem, what);
  const hairpin = conf.hairpinMode ?? false;
  const promiscuous = conf.promiscMode ?? false;
  if (hairpin && promiscuous) {
    throw badConfig("promiscMode", true, "cannot be set together with hairpinMode", what);
  }
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
    hairpin,
    promiscuous,
    mac: requestedMac(conf, request),
    ipam: ipam === "" ? undefined : ipam,
    dns: readDns(conf.dns),
  };
}

/** The reference's precedence: the runtime's capability, then args.cni, then CNI_ARGS. */
function requestedMac(conf: BridgeConf, request: Request): string | undefined {
  const asked = [
    { path: "runtimeConfig.mac", text: conf.runtimeConfig?.mac },
    { path: "args.cni.mac", text: conf.args?.cni?.mac },
    { path: "MAC of CNI_ARGS", text: request.args.get("MAC") ?? request.args.get("mac") },
  ].find(({ text }) => typeof text === "string" && text !== "");
  if (typeof asked?.text !== "string") return undefined;
  try {
    return formatMac(parseMac(asked.text));
  } catch (error) {
    throw badConfig(asked.path, asked.text, messageOf(error), what);
  }
}

/** To ignore one of these would leave a container less separated than its config says. */
const unsupported = [
  "vlan",
  "vlanTrunk",
  "macspoofchk",
  "portIsolation",
  "enabledad",
  "disableContainerInterface",
] as const;

function refuseUnsupported(conf: BridgeConf): void {
  for (const key of unsupported) {
    const value: unknown = conf[key];
    if (value === undefined || value === null || value === false || value === 0) continue;
    if (Array.isArray(value) && value.length === 0) continue;
    throw new CniError(
      Code.UnsupportedField,
      `Cannot use ${what}: ${key} is not supported by this release.`,
      `Take ${key} out of the network config, or keep the reference bridge plugin for this network.`,
    );
  }
}

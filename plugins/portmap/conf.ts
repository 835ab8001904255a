import { badConfig, parseAt, validate } from "../../shared/cni/conf.ts";
import type { Request } from "../../shared/cni/request.ts";
import type { Backend } from "../../shared/firewall/driver.ts";
import { overlap } from "../../shared/firewall/port_forward.ts";
import type {
  PortForward,
  PortForwardOptions,
  PortMapping,
} from "../../shared/firewall/port_forward.ts";
import { formatAddress, isUnspecified, parseAddress } from "../../shared/net/address.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import { messageOf } from "../../shared/base/failure.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import type { PortmapConf, PortMappingConf } from "../../schemas/generated/types.ts";
import { validatePortmap } from "../../schemas/generated/validators.js";

/** A portmap config with every default in place. */
export interface PortmapConfig {
  readonly network: string;
  readonly options: PortForwardOptions;
  /** undefined for whichever the node has. */
  readonly backend: Backend | undefined;
  /** Whether a port that a process of the host listens on is refused, and not just warned about. */
  readonly refuseListeners: boolean;
  readonly mappings: readonly PortMapping[];
}

const what = "the portmap config";
/** Kubernetes uses bits 14 and 15, Calico 20 to 31. */
const defaultMarkBit = 13;
/** Bytes of an iptables chain's name, at most. */
const chainNameMax = 28;

/**
 * Reads the config. DEL and GC go by ids, so nothing wrong in it stops them, or the plugins after
 * them. CHECK ignores options that only decide whether an ADD goes on.
 * @param skip is told what is wrong if the verb goes on without it.
 * @throws CniError InvalidNetworkConfig
 */
export function parsePortmapConf(
  raw: JsonObject,
  request: Request,
  skip: (problem: string) => void,
): PortmapConfig {
  const lenient = request.verb === "DEL" || request.verb === "GC";
  const needed = request.verb === "CHECK" ? withoutPolicy(raw, skip) : raw;
  const conf = validate(validatePortmap, lenient ? { name: raw["name"] ?? "" } : needed, what);
  const options = readOptions(conf);
  const backend = conf.backend ?? impliedBackend(conf);
  checkConditions(options, backend);
  return {
    network: conf.name,
    options,
    backend,
    refuseListeners: conf.hostPortConflict === "refuse",
    mappings: lenient ? lenientMappings(raw) : readMappings(conf),
  };
}

/** A config whose rule for host ports in use is right, or left out. */
function withoutPolicy(raw: JsonObject, skip: (problem: string) => void): JsonObject {
  const { name = "", hostPortConflict = null } = raw;
  try {
    validate(validatePortmap, { name, hostPortConflict }, what);
    return raw;
  } catch (error) {
    skip(messageOf(error));
    return { ...raw, hostPortConflict: null };
  }
}

/**
 * Checks what is recorded of host ports as a config is checked: it becomes rules again.
 * @throws CniError InvalidNetworkConfig
 */
export function checkRecorded({ network, options, mappings }: PortForward, backend: Backend): void {
  const { snat, masqAll, markMasqBit, externalSetMarkChain, conditions } = options;
  const conf = validate(
    validatePortmap,
    {
      name: network,
      backend,
      snat,
      masqAll,
      // The default is recorded beside a chain, too.
      markMasqBit: externalSetMarkChain === undefined ? markMasqBit : null,
      externalSetMarkChain: externalSetMarkChain ?? null,
      conditionsV4: conditions[4],
      conditionsV6: conditions[6],
      runtimeConfig: {
        portMappings: mappings.map(({ hostIP, family, ...mapping }) => ({
          ...mapping,
          hostIP: hostIP === undefined ? allOf(family) : formatAddress(hostIP),
        })),
      },
    },
    "a record of host ports",
  );
  checkConditions(readOptions(conf), backend);
  for (const entry of conf.runtimeConfig?.portMappings ?? []) readMapping(entry, "mappings");
}

/** What stands for all addresses of a family, or of both. */
function allOf(family: Family | undefined): string {
  return family === undefined ? "" : formatAddress({ family, value: 0n });
}

/** Options that only iptables knows, or conditions in its words, ask for it. */
function impliedBackend(conf: PortmapConf): Backend | undefined {
  const conditions = [...(conf.conditionsV4 ?? []), ...(conf.conditionsV6 ?? [])];
  const isIptables =
    (conf.markMasqBit ?? conf.externalSetMarkChain ?? undefined) !== undefined ||
    conditions.some((condition) => condition.startsWith("-"));
  return isIptables ? "iptables" : undefined;
}

function readOptions(conf: PortmapConf): PortForwardOptions {
  const external = conf.externalSetMarkChain ?? undefined;
  const bit = conf.markMasqBit ?? undefined;
  if (external !== undefined) {
    if (bit !== undefined) {
      throw badConfig(
        "markMasqBit",
        bit,
        "must not be set together with externalSetMarkChain",
        what,
      );
    }
    if (!/^[a-zA-Z0-9_][a-zA-Z0-9_.:-]*$/.test(external) || external.length > chainNameMax) {
      throw badConfig("externalSetMarkChain", external, "must be the name of a chain", what);
    }
  }
  return {
    snat: conf.snat ?? true,
    masqAll: conf.masqAll ?? false,
    markMasqBit: bit ?? defaultMarkBit,
    externalSetMarkChain: external,
    conditions: { 4: conf.conditionsV4 ?? [], 6: conf.conditionsV6 ?? [] },
  };
}

/**
 * Conditions become part of a restore text or of nft's commands, where a line break, or in nft a
 * semicolon, would begin another command.
 */
function checkConditions({ conditions }: PortForwardOptions, backend: Backend | undefined): void {
  for (const family of [4, 6] as const) {
    for (const [at, condition] of conditions[family].entries()) {
      const path = `conditionsV${family}[${at}]`;
      // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
      if (/[\u0000-\u001f\u007f]/.test(condition)) {
        throw badConfig(path, condition, "must not contain a control character", what);
      }
      if (condition === "") throw badConfig(path, condition, "must not be empty", what);
    }
    // Without a backend it may still become nftables.
    if (backend === "iptables") continue;
    const at = ruleBreaker(conditions[family]);
    if (at === undefined) continue;
    const path = `conditionsV${family}[${at}]`;
    throw badConfig(
      path,
      conditions[family][at],
      "must not end the rule of nftables that it is part of",
      what,
    );
  }
}

/** Which of some words would end the nft rule that they are put in, as one text, if any. */
function ruleBreaker(words: readonly string[]): number | undefined {
  const ends = words.findIndex((word) => /[;#\\"]/.test(word));
  if (ends !== -1) return ends;
  const isBalanced = !/[{}]/.test(words.join(" ").replaceAll(/\{[^{}]*\}/g, ""));
  return isBalanced ? undefined : words.findIndex((word) => /[{}]/.test(word));
}

function readMappings(conf: PortmapConf): PortMapping[] {
  const mappings: PortMapping[] = [];
  for (const [at, entry] of (conf.runtimeConfig?.portMappings ?? []).entries()) {
    const path = `runtimeConfig.portMappings[${at}]`;
    const mapping = readMapping(entry, path);
    // A repeated mapping stays: the reference's CHECK looks for the rules of each.
    if (mappings.some((earlier) => contradicts(mapping, earlier))) {
      const port = `${mapping.hostPort}/${mapping.protocol}`;
      throw badConfig(
        `${path}.hostPort`,
        mapping.hostPort,
        `must not be mapped twice (${port})`,
        what,
      );
    }
    mappings.push(mapping);
  }
  return mappings;
}

function readMapping(entry: PortMappingConf, path: string): PortMapping {
  const name = entry.protocol ?? "";
  const protocol = (["tcp", "udp", "sctp"] as const).find(
    (known) => known === (name === "" ? "tcp" : name.toLowerCase()),
  );
  if (protocol === undefined) {
    throw badConfig(`${path}.protocol`, name, "must be tcp, udp or sctp", what);
  }
  const text = entry.hostIP ?? "";
  const address = text === "" ? undefined : readHostIP(text, path);
  return {
    hostPort: entry.hostPort,
    containerPort: entry.containerPort,
    protocol,
    hostIP: address === undefined || isUnspecified(address) ? undefined : address,
    family: address?.family,
  };
}

function readHostIP(text: string, path: string): Address {
  return parseAt(parseAddress, text, `${path}.hostIP`, what);
}

/**
 * Whether two mappings send the same packets to different ports. A mapping for one address of the
 * host takes precedence over one for all.
 */
function contradicts(a: PortMapping, b: PortMapping): boolean {
  return (
    a.containerPort !== b.containerPort &&
    (a.hostIP === undefined) === (b.hostIP === undefined) &&
    overlap(a, b)
  );
}

/** The mappings of a DEL's config, if they can be read: they tell which UDP flows to forget. */
function lenientMappings({ name = "", runtimeConfig = null }: JsonObject): PortMapping[] {
  try {
    return readMappings(validate(validatePortmap, { name, runtimeConfig }, what));
  } catch {
    return [];
  }
}

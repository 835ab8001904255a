import { Failure } from "../../../shared/base/failure.ts";
import { quote } from "../../../shared/base/text.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import { alloc } from "./alloc.ts";
import type { Backend, WireguardKeys } from "./backend.ts";
import { extension, readExtensionCommands } from "./extension.ts";
import { hostGw } from "./host_gw.ts";
import { ipip } from "./ipip.ts";
import { inTransition } from "./transition.ts";
import { udp } from "./udp.ts";
import { readVxlanOptions, vxlan } from "./vxlan.ts";
import { readWireguardOptions, wireguard } from "./wireguard.ts";

/** flannel's backends that are not implemented yet. */
const notYet: ReadonlySet<string> = new Set(["bgp"]);

/** flannel's backends that will not be implemented, with what to use instead. */
const alternatives: Readonly<Record<string, string>> = {
  ipsec: 'Use the backend "wireguard", which encrypts as well.',
  "tencent-vpc": cloudAdvice("cloud"),
  "ali-vpc": cloudAdvice("cloud"),
  "aws-vpc": cloudAdvice("VPC"),
  gce: cloudAdvice("cloud"),
};

const haveInstead =
  'Set Backend.Type in net-conf.json to "vxlan", "host-gw", "wireguard", "ipip", "extension", "udp" or "alloc".';

function cloudAdvice(owner: string): string {
  return `Use the backend "extension" with a command that makes the ${owner}'s routes (docs/extension.md has one for AWS), "alloc" where the ${owner}'s own controller makes them, or "vxlan".`;
}

/** What some backends need besides their options. */
export interface BackendInput {
  /** What the extension's first command has printed. */
  readonly output?: string | undefined;
  /** This node's, for wireguard. */
  readonly keys?: WireguardKeys | undefined;
  /** Those that this node had before and some peers still have; may become fewer. */
  readonly before?: readonly Backend[];
}

/** The backend that net-conf.json names. @throws Failure invalid */
export function chooseBackend(netConf: NetConf, input: BackendInput): Backend {
  return inTransition(backendOf(netConf, input), input.before ?? []);
}

/** The same for a node that has never had another one. @throws Failure invalid */
export function backendOf(netConf: NetConf, { output, keys }: BackendInput): Backend {
  const networks = { ipv4: netConf.network, ipv6: netConf.ipv6Network };
  const type = netConf.backendType;
  switch (type) {
    case "vxlan":
      return vxlan(networks, readVxlanOptions(netConf.backend));
    case "host-gw":
      return hostGw(networks);
    case "wireguard":
      return wireguard(networks, readWireguardOptions(netConf.backend), keys);
    case "alloc":
      return alloc(networks);
    case "ipip":
      return ipip(networks, netConf.backend);
    case "udp":
      return udp(networks);
    case "extension":
      readExtensionCommands(netConf.backend);
      return extension(networks, output);
    default:
      throw refusal(type);
  }
}

function refusal(type: string): Failure {
  const advice = alternatives[type];
  if (advice !== undefined) return refused(`${type}: flanneld does not have it.`, advice);
  return notYet.has(type)
    ? refused(`${type}: this flanneld does not have it yet.`, haveInstead)
    : refused(`${quote(type)}: flanneld does not know it.`, haveInstead);
}

function refused(why: string, advice: string): Failure {
  return new Failure("invalid", `Cannot use the backend ${why}`, advice);
}

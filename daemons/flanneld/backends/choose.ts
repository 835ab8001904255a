import { Failure } from "../../../shared/base/failure.ts";
import { quote } from "../../../shared/base/text.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import { alloc } from "./alloc.ts";
import type { Backend } from "./backend.ts";
import { hostGw } from "./host_gw.ts";
import { readVxlanOptions, vxlan } from "./vxlan.ts";

/** flannel's backends that are not implemented yet. */
const notYet: ReadonlySet<string> = new Set(["udp", "ipip", "wireguard", "extension", "bgp"]);

/** flannel's backends that will not be implemented, with what to use instead. */
const alternatives: Readonly<Record<string, string>> = {
  ipsec: "Encrypt below flannel, or use a network that encrypts by itself, with the backend vxlan.",
  "tencent-vpc":
    'Use the backend "host-gw" on one subnet, or "vxlan", or "alloc" with the routes made by the cloud\'s own controller.',
  "ali-vpc":
    'Use the backend "host-gw" on one subnet, or "vxlan", or "alloc" with the routes made by the cloud\'s own controller.',
  "aws-vpc":
    'Use the backend "vxlan", or "alloc" with the routes made by the cloud\'s own controller.',
  gce: 'Use the backend "vxlan", or "alloc" with the routes made by the cloud\'s own controller.',
};

/**
 * The backend that net-conf.json names.
 * @throws Failure invalid
 */
export function chooseBackend(netConf: NetConf): Backend {
  const networks = { ipv4: netConf.network, ipv6: netConf.ipv6Network };
  const type = netConf.backendType;
  switch (type) {
    case "vxlan":
      return vxlan(networks, readVxlanOptions(netConf.backend));
    case "host-gw":
      return hostGw(networks);
    case "alloc":
      return alloc(networks);
    default:
      throw refusal(type);
  }
}

function refusal(type: string): Failure {
  const advice = alternatives[type];
  if (advice !== undefined) {
    return new Failure(
      "invalid",
      `Cannot use the backend ${type}: flanneld does not have it.`,
      advice,
    );
  }
  if (notYet.has(type)) {
    const what = type === "udp" ? " A config without a Backend means udp." : "";
    return new Failure(
      "invalid",
      `Cannot use the backend ${type}: this flanneld does not have it yet.${what}`,
      'Set Backend.Type in net-conf.json to "vxlan", "host-gw" or "alloc".',
    );
  }
  return new Failure(
    "invalid",
    `Cannot use the backend ${quote(type)}: flanneld does not know it.`,
    'Set Backend.Type in net-conf.json to "vxlan", "host-gw" or "alloc".',
  );
}

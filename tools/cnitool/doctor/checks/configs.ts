import { isJsonObject } from "../../../../shared/base/json.ts";
import { CniError, Code } from "../../../../shared/cni/error.ts";
import { MisnamedList } from "../../../../shared/libcni/list.ts";
import type { NetworkList } from "../../../../shared/libcni/list.ts";
import { versionOf } from "../../../../shared/libcni/runtime.ts";
import { formatCidr, overlaps } from "../../../../shared/net/cidr.ts";
import { gatewaysOutside } from "../../../../shared/preconditions/bridge.ts";
import { NotReady } from "../../../../shared/preconditions/finding.ts";
import type { Finding } from "../../../../shared/preconditions/finding.ts";
import { quoted } from "../../shell.ts";
import { isGateway, some } from "../view.ts";
import type { View } from "../view.ts";

/** How to restart what writes flannel's network config. */
const rewriteConfig = "kubectl -n kube-flannel rollout restart daemonset/kube-flannel-ds";

/** The network configs: whether there is one, which is used, and what is in it. */
export function checkConfigs(view: View): Finding[] {
  const { files, folder, network } = view.configs;
  if (files.length === 0) {
    return [
      {
        id: "no-config",
        severity: "error",
        what: `${folder} has no network config.`,
        means: "The runtime starts no pods, and the node is NotReady.",
        fix: rewriteConfig,
      },
    ];
  }
  return [
    ...brokenFiles(view),
    ...(network === undefined ? [] : contradictions(view, network)),
    ...(network === undefined ? [] : otherFiles(view, network)),
    ...unready(view),
  ];
}

function brokenFiles({ configs: { files, network } }: View): Finding[] {
  return files.flatMap(({ file, network: read }, at): Finding[] => {
    if (!(read instanceof CniError)) return [];
    const isFirst = at === 0;
    return [
      {
        id: "broken-config",
        severity: isFirst ? "error" : "warning",
        what: read.message,
        means: isFirst
          ? "It comes first by name, so the runtime either starts no pods or uses another config than you expect."
          : "A runtime may refuse to start because of it, and cnitool stops reading at it.",
        fix: wayOutOf(file, read, network !== undefined),
      },
    ];
  });
}

/** How to repair a broken config. doctor never suggests removing the only one. */
function wayOutOf(file: string, problem: CniError, hasOther: boolean): string {
  const aside = `mv ${quoted(file)} ${quoted(`${file}.broken`)}`;
  if (problem instanceof MisnamedList) {
    return `mv ${quoted(file)} ${quoted(file.replace(/\.(?:conf|json)$/, ".conflist"))}`;
  }
  return hasOther ? aside : `correct ${file}, or let flannel write it again: ${rewriteConfig}`;
}

/** What is wrong with a config on any node. */
function contradictions(view: View, network: NetworkList): Finding[] {
  const rangeSets = view.reservations?.conf.rangeSets ?? [];
  return [
    ...unknownVersion(network),
    ...(isGateway(view) ? gatewaysOutside(rangeSets, network.file) : []),
    ...noPortMappings(network),
  ];
}

function unknownVersion(network: NetworkList): Finding[] {
  try {
    versionOf(network);
    return [];
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return [
      {
        id: "unknown-version",
        severity: "error",
        what: `${error.message} It is in ${network.file}.`,
        means: "Every plugin refuses it, so no pod can start.",
        fix: `sed -i 's/"cniVersion": *"[^"]*"/"cniVersion": "1.0.0"/' ${quoted(network.file)}`,
      },
    ];
  }
}

function noPortMappings({ plugins, file }: NetworkList): Finding[] {
  const portmap = plugins.find(({ type }) => type === "portmap");
  const capabilities = portmap?.["capabilities"];
  const isOn = isJsonObject(capabilities) && capabilities["portMappings"] === true;
  if (portmap === undefined || isOn) return [];
  return [
    {
      id: "no-port-mappings",
      severity: "warning",
      what: `portmap in ${file} has no "capabilities": {"portMappings": true}.`,
      means: "The runtime does not pass it any host ports, so hostPort works for no pod.",
      fix: `add "capabilities": {"portMappings": true} to portmap in ${file}`,
    },
  ];
}

/** Configs besides the one that is used. */
function otherFiles(view: View, network: NetworkList): Finding[] {
  const { configs, reservations } = view;
  const { unused } = configs;
  const [first] = unused;
  if (first === undefined) return [];
  const hidden = isFlannel(network) ? undefined : unused.find((entry) => isFlannel(entry.network));
  const usedSubnets = (reservations?.conf.rangeSets ?? []).flatMap((set) =>
    set.map(({ subnet }) => subnet),
  );
  return [
    hidden === undefined
      ? {
          id: "several-configs",
          severity: "warning",
          what: `There is more than one network config: ${network.file} comes before ${some(unused.map((entry) => entry.network.file))}.`,
          means:
            "A runtime uses the first one only. If files are removed or renamed, new pods may get another network than existing ones.",
          fix: disable(view, first.network),
        }
      : {
          id: "other-config-wins",
          severity: "error",
          what: `${network.file} comes before flannel's ${hidden.network.file}, so the runtime uses it.`,
          means: "New pods are not on flannel's network and cannot reach the pods that are.",
          fix: disable(view, network),
        },
    ...unused.flatMap(({ network: unusedNetwork, subnets }): Finding[] => {
      const shared = subnets.find((subnet) => usedSubnets.some((used) => overlaps(used, subnet)));
      if (shared === undefined || unusedNetwork.name === network.name) return [];
      return [
        {
          id: "same-subnet",
          severity: "error",
          what: `The networks ${network.name} and ${unusedNetwork.name} (${unusedNetwork.file}) both hand out addresses of ${formatCidr(shared)}.`,
          means: "Each tracks only its own addresses, so two pods can get the same one.",
          fix: disable(view, unusedNetwork),
        },
      ];
    }),
  ];
}

/** How to take a config out of use. A network that pods may be attached to keeps its config. */
function disable({ usedNetworks, cnitool }: View, { file, name }: NetworkList): string {
  if (usedNetworks.has(name)) {
    return `leave ${file} where it is while pods are attached to the network ${name} (${cnitool} ps lists them)`;
  }
  return `mv ${quoted(file)} ${quoted(`${file}.disabled`)}`;
}

function isFlannel({ plugins }: NetworkList): boolean {
  return plugins.some(({ type }) => type === "flannel");
}

/** Why an ADD would fail, according to the plugins' STATUS. */
function unready({ configs: { chains, network } }: View): Finding[] {
  return chains.flatMap(({ chain, problem }): Finding[] => {
    // A full range is reported with the addresses.
    if (problem === undefined || problem.code === Code.LimitedConnectivity) return [];
    if (problem instanceof NotReady) return [problem.finding];
    const type = chain.at(-1)?.type ?? "";
    if (problem.code === Code.InvalidNetworkConfig) {
      return [
        {
          id: "bad-plugin-config",
          severity: "error",
          what: problem.message,
          means: `The plugin ${type} refuses it, so no pod can start.`,
          fix: `correct it in ${network?.file ?? "the network config"}. ${problem.details}`,
        },
      ];
    }
    if (type === "flannel") {
      return [
        {
          id: "no-subnet",
          severity: "error",
          what: problem.message,
          means: "Without this node's subnet no pod can start. flanneld writes it.",
          fix: `kubectl -n kube-flannel logs daemonset/kube-flannel-ds; ${rewriteConfig}`,
        },
      ];
    }
    return [
      {
        id: "not-ready",
        severity: "error",
        what: `${type}: ${problem.message}`,
        means: "No pod can start, or those that need this plugin cannot.",
        fix: problem.details,
      },
    ];
  });
}

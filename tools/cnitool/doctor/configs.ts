import { CniError, Code } from "../../../shared/cni/error.ts";
import type { NetworkList } from "../../../shared/libcni/list.ts";
import { versionOf } from "../../../shared/libcni/runtime.ts";
import { isJsonObject } from "../../../shared/base/json.ts";
import { formatCidr, overlaps } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import { quoted } from "../invoke.ts";
import { delegateChain } from "../node/delegate_chain.ts";
import { reservationsOf } from "../node/reservations.ts";
import type { Reservations } from "../node/reservations.ts";
import { some } from "./finding.ts";
import type { Finding } from "./finding.ts";
import type { View } from "./view.ts";

/** The network configs: whether there is one, which wins, and what it says. */
export async function checkConfigs(view: View): Promise<Finding[]> {
  const { files, folder, winner } = view;
  if (files.length === 0) {
    return [
      {
        id: "no-config",
        severity: "error",
        what: `${folder} has no network config.`,
        means: "The runtime starts no pods, and the node is NotReady.",
        mend: "kubectl -n kube-flannel rollout restart daemonset/kube-flannel-ds",
      },
    ];
  }
  return [
    ...brokenFiles(view),
    ...(winner === undefined ? [] : contentOf(winner)),
    ...(winner === undefined ? [] : await otherFiles(view, winner)),
    ...readiness(view),
  ];
}

function brokenFiles({ files }: View): Finding[] {
  return files.flatMap(({ file, network }, at): Finding[] => {
    if (!(network instanceof CniError)) return [];
    return [
      {
        id: "broken-config",
        severity: at === 0 ? "error" : "warning",
        what: network.message,
        means:
          at === 0
            ? "It is the first by its name, so the runtime takes it and starts no pods, or takes another than you think."
            : "A runtime may refuse to start because of it, and cnitool does not look beyond it.",
        mend: `mv ${quoted(file)} ${quoted(`${file}.broken`)}`,
      },
    ];
  });
}

function contentOf(winner: NetworkList): Finding[] {
  const findings: Finding[] = [];
  try {
    versionOf(winner);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    findings.push({
      id: "unknown-version",
      severity: "error",
      what: `${error.message} It stands in ${winner.file}.`,
      means: "Every plugin refuses it, so no pod can start.",
      mend: `sed -i 's/"cniVersion": *"[^"]*"/"cniVersion": "1.0.0"/' ${quoted(winner.file)}`,
    });
  }
  const portmap = winner.plugins.find(({ type }) => type === "portmap");
  const capabilities = portmap?.["capabilities"];
  const isOn = isJsonObject(capabilities) && capabilities["portMappings"] === true;
  if (portmap !== undefined && !isOn) {
    findings.push({
      id: "no-port-mappings",
      severity: "warning",
      what: `portmap in ${winner.file} has no "capabilities": {"portMappings": true}.`,
      means: "The runtime tells it no host ports, so no pod's hostPort works.",
      mend: `add "capabilities": {"portMappings": true} to portmap in ${winner.file}`,
    });
  }
  return findings;
}

/** Configs besides the one that wins. */
async function otherFiles(view: View, winner: NetworkList): Promise<Finding[]> {
  const others = view.files
    .map(({ network }) => network)
    .filter((network): network is NetworkList => !(network instanceof CniError))
    .filter((network) => network !== winner);
  const [first] = others;
  if (first === undefined) return [];
  const hidden = isFlannel(winner) ? undefined : others.find(isFlannel);
  const findings: Finding[] = [
    hidden === undefined
      ? {
          id: "several-configs",
          severity: "warning",
          what: `There is more than one network config: ${winner.file} wins by its name over ${some(others.map(({ file }) => file))}.`,
          means:
            "A runtime uses the first. If another is removed or renamed, new pods get another network than those that are there.",
          mend: `mv ${quoted(first.file)} ${quoted(`${first.file}.disabled`)}`,
        }
      : {
          id: "other-config-wins",
          severity: "error",
          what: `${winner.file} wins by its name over flannel's ${hidden.file}.`,
          means: "New pods do not get flannel's network, and cannot reach those that did.",
          mend: `mv ${quoted(winner.file)} ${quoted(`${winner.file}.disabled`)}`,
        },
  ];
  const own = subnetsOf(view.reserved);
  for (const other of others) {
    if (other.name === winner.name) continue;
    const theirs: Cidr[] = [];
    for (const plugin of other.plugins) {
      const { chain } = await delegateChain(view.tool, other, plugin);
      theirs.push(...subnetsOf(reservationsOf(view.tool, chain)));
    }
    const shared = theirs.find((subnet) => own.some((mine) => overlaps(mine, subnet)));
    if (shared === undefined) continue;
    findings.push({
      id: "same-subnet",
      severity: "error",
      what: `The networks ${winner.name} and ${other.name} (${other.file}) both give addresses of ${formatCidr(shared)}.`,
      means: "Each counts its own addresses alone, so two pods can get the same one.",
      mend: `mv ${quoted(other.file)} ${quoted(`${other.file}.disabled`)}`,
    });
  }
  return findings;
}

function isFlannel({ plugins }: NetworkList): boolean {
  return plugins.some(({ type }) => type === "flannel");
}

function subnetsOf(reserved: Reservations | undefined): Cidr[] {
  return (reserved?.conf.rangeSets ?? []).flatMap((set) => set.map(({ subnet }) => subnet));
}

/** What the plugins themselves say of whether they could do an ADD. */
function readiness({ delegations, winner }: View): Finding[] {
  return delegations.flatMap(({ chain, problem }): Finding[] => {
    // A range that is full is said with the others.
    if (problem === undefined || problem.code === Code.LimitedConnectivity) return [];
    const type = chain.at(-1)?.type ?? "";
    if (problem.code === Code.InvalidNetworkConfig) {
      return [
        {
          id: "bad-plugin-config",
          severity: "error",
          what: problem.message,
          means: `The plugin ${type} refuses it, so no pod can start.`,
          mend: `correct it in ${winner?.file ?? "the network config"}. ${problem.details}`,
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
          mend: `kubectl -n kube-flannel logs daemonset/kube-flannel-ds; kubectl -n kube-flannel rollout restart daemonset/kube-flannel-ds`,
        },
      ];
    }
    return [
      {
        id: "not-ready",
        severity: "error",
        what: `${type}: ${problem.message}`,
        means: "No pod can start, or those that need this plugin cannot.",
        mend: problem.details,
      },
    ];
  });
}

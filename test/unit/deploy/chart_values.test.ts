/** Each value of flannel's own chart means the same in deploy/chart, or is refused with a sentence. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import {
  goFlannel,
  helm,
  missingPrograms,
  missingTexts,
} from "../../../scripts/kubernetes/programs.ts";
import { refusalOf, render, type KubeObjects, type Values } from "./helm.ts";

const chart = "deploy/chart";
const flannelChart = join(goFlannel.folder, "chart");
const isMissing = missingPrograms(helm).length + missingTexts(goFlannel).length > 0;

const wireguard = 'flannel.backend="wireguard"';

/** The values of flannel's chart, each with what it is set to, and what has to be set besides. */
const same: Readonly<Record<string, Values>> = {
  "global.imagePullSecrets": ['global.imagePullSecrets=[{"name":"secret"}]'],
  podCidr: ['podCidr="10.1.0.0/16"'],
  podCidrv6: ['podCidrv6="fd00::/48"'],
  "flannel.image.repository": ['flannel.image={"repository":"r.example/flannel","tag":"9"}'],
  "flannel.image.tag": ['flannel.image={"repository":"r.example/flannel","tag":"10"}'],
  "flannel.cniBinDir": ['flannel.cniBinDir="/usr/libexec/cni"'],
  "flannel.cniConfDir": ['flannel.cniConfDir="/etc/cni/other"'],
  "flannel.skipCNIConfigInstallation": ["flannel.skipCNIConfigInstallation=true"],
  "flannel.enableNFTables": ["flannel.enableNFTables=true"],
  "flannel.args": ['flannel.args=["--kube-subnet-mgr","--iface=eth1"]'],
  "flannel.backend": ['flannel.backend="host-gw"'],
  "flannel.backendPort": ["flannel.backendPort=4789"],
  "flannel.mtu": ["flannel.mtu=1400"],
  "flannel.vni": ["flannel.vni=7"],
  "flannel.GBP": ["flannel.GBP=true"],
  "flannel.directRouting": ["flannel.directRouting=true"],
  "flannel.macPrefix": ['flannel.macPrefix="0E-2B"'],
  "flannel.backendPortv6": ["flannel.backendPortv6=51822", wireguard],
  "flannel.psk": ['flannel.psk="a2V5"', wireguard],
  // With quotes in it: flannel's template writes it as it is, into JSON.
  "flannel.tunnelMode": [String.raw`flannel.tunnelMode="\"auto\""`, wireguard],
  "flannel.keepaliveInterval": ["flannel.keepaliveInterval=25", wireguard],
  "flannel.cniConf": [String.raw`flannel.cniConf="{\"name\": \"n\", \"plugins\": []}"`],
  "flannel.resources.requests.cpu": ['flannel.resources.requests.cpu="1"'],
  "flannel.resources.requests.memory": ['flannel.resources.requests.memory="1Gi"'],
  "flannel.healthz.port": ["flannel.healthz.port=8082"],
  ...Object.fromEntries(
    ["livenessProbe", "readinessProbe"].flatMap((probe) =>
      ["initialDelaySeconds", "periodSeconds"].map((key) => {
        const name = `flannel.healthz.${probe}.${key}`;
        return [name, [`${name}=77`]];
      }),
    ),
  ),
  "flannel.tolerations": ['flannel.tolerations=[{"key":"a","operator":"Exists"}]'],
  "flannel.nodeSelector": ['flannel.nodeSelector={"a":"b"}'],
  // They mean nothing as long as netpol.enabled is false.
  "netpol.args": ['netpol.args=["--v=3"]'],
  "netpol.image.repository": ['netpol.image.repository="r.example/policies"'],
  "netpol.image.tag": ['netpol.image.tag="9"'],
};

const refused: Readonly<Record<string, Values>> = {
  "netpol.enabled": ["netpol.enabled=true"],
  "flannel.flannel_cni.image.repository": ['flannel.flannel_cni.image.repository="r.example/p"'],
  "flannel.flannel_cni.image.tag": ['flannel.flannel_cni.image.tag="9"'],
};

/** The names of the values in a values.yaml, of which some are there as comments alone. */
function namesOf(text: string): readonly string[] {
  const inComments = Array.from(
    text.matchAll(/^ {2}# ?(\w+): \S+$/gm),
    ([, name]) => `flannel.${name ?? ""}`,
  );
  return [...new Set([...leaves(parse(text), ""), ...inComments])].toSorted();
}

function leaves(value: unknown, name: string): readonly string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [name];
  const entries = Object.entries(value);
  if (entries.length === 0) return [name];
  return entries.flatMap(([key, inner]) => leaves(inner, name === "" ? key : `${name}.${key}`));
}

interface Container {
  readonly image: string;
  readonly command: readonly string[];
  readonly args?: readonly string[];
  readonly resources?: unknown;
  readonly ports?: unknown;
  readonly livenessProbe?: Readonly<Record<string, unknown>>;
  readonly readinessProbe?: Readonly<Record<string, unknown>>;
}

interface Pod {
  readonly imagePullSecrets?: unknown;
  readonly tolerations?: unknown;
  readonly nodeSelector?: unknown;
  readonly initContainers: readonly Container[];
  readonly containers: readonly [Container];
  readonly volumes: readonly { readonly name: string; readonly hostPath?: { path: string } }[];
}

/** What the values of a chart can change, in words that both charts have. */
function meaningOf(objects: KubeObjects): object {
  const { spec } = objects["DaemonSet kube-flannel-ds"] ?? {};
  const pod = (spec as { template: { spec: Pod } }).template.spec;
  const [flanneld] = pod.containers;
  const data = objects["ConfigMap kube-flannel-cfg"]?.data ?? {};
  const words = new Set(
    pod.initContainers.flatMap(({ command, args = [] }) => [...command, ...args]),
  );
  const folder = (name: string) =>
    pod.volumes.find((volume) => volume.name === name)?.hostPath?.path;
  return {
    cniConf: data["cni-conf.json"],
    // Off is the default.
    netConf: { EnableNFTables: false, ...(data["net-conf.json"] as object) },
    secrets: pod.imagePullSecrets,
    ...{ tolerations: pod.tolerations, nodeSelector: pod.nodeSelector },
    args: [...flanneld.command.slice(1), ...(flanneld.args ?? [])],
    ...{ resources: flanneld.resources, ports: flanneld.ports },
    // Ours wait longer for an answer than Kubernetes' second.
    probes: [flanneld.livenessProbe, flanneld.readinessProbe].map((probe) => ({
      ...probe,
      timeoutSeconds: undefined,
    })),
    folders: [folder("cni-plugin"), folder("cni")],
    writesConf: words.has("install-cni")
      ? !words.has("--no-conf")
      : words.has("/opt/bin/install-conf"),
  };
}

function imageOf(objects: KubeObjects): string {
  const { spec } = objects["DaemonSet kube-flannel-ds"] ?? {};
  return (spec as { template: { spec: Pod } }).template.spec.containers[0].image;
}

describe.skipIf(isMissing)("the values of flannel's own chart", () => {
  test("are all known here", () => {
    const names = namesOf(readFileSync(join(flannelChart, "values.yaml"), "utf8"));
    expect(Object.keys({ ...same, ...refused }).toSorted()).toEqual(names);
  });

  test("have the same defaults, but for the image", () => {
    expect(meaningOf(render(chart, []))).toEqual(meaningOf(render(flannelChart, [])));
  });

  test.for(Object.entries(same))("%s means the same", ([name, values]) => {
    const [first = "", ...more] = values;
    const [made, upstream] = [render(chart, values), render(flannelChart, values)];
    expect(meaningOf(made)).toEqual(meaningOf(upstream));
    if (name.startsWith("flannel.image")) expect(imageOf(made)).toBe(imageOf(upstream));
    else if (!name.startsWith("netpol")) {
      expect(meaningOf(made), first).not.toEqual(meaningOf(render(chart, more)));
    }
  });

  test.for(Object.entries(refused))(
    "%s is refused, and docs/install.md says so",
    ([name, values]) => {
      const known = name.replace(/\.image\..*/, "");
      expect(refusalOf(chart, values)).toContain(known);
      expect(readFileSync("docs/install.md", "utf8")).toContain(`\`${known}\``);
    },
  );
});

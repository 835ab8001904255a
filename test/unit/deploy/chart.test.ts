/** deploy/chart: what helm makes of it, against the manifests and the values of flannel's own chart. */
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { helm, missingPrograms } from "../../../scripts/kubernetes/programs.ts";

const chart = "deploy/chart";
const program = join(helm.folder, "helm");
const isMissing = missingPrograms(helm).length > 0;

interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  data?: Record<string, unknown>;
}

type Values = readonly string[];

/** The objects of some documents, by kind and name; what is JSON in them as values. */
function objectsOf(text: string): Readonly<Record<string, KubeObject>> {
  const objects = parseAllDocuments(text).flatMap((document) => {
    const object = document.toJS() as KubeObject | null;
    return object === null ? [] : [object];
  });
  for (const object of objects) {
    if (object.data === undefined) continue;
    object.data = Object.fromEntries(
      Object.entries(object.data).map(([name, json]) => [
        name,
        JSON.parse(String(json)) as unknown,
      ]),
    );
  }
  return Object.fromEntries(
    objects.map((object) => [`${object.kind} ${object.metadata.name}`, object]),
  );
}

function manifest(file: string): Readonly<Record<string, KubeObject>> {
  return objectsOf(readFileSync(join("deploy", file), "utf8"));
}

function flagsOf(values: Values): string[] {
  return values.flatMap((value) => ["--set-json", value]);
}

function render(...values: Values): Readonly<Record<string, KubeObject>> {
  const args = ["template", "flannel", chart, "--namespace", "kube-flannel", ...flagsOf(values)];
  return objectsOf(execFileSync(program, args, { encoding: "utf8" }));
}

function netConfOf(objects: Readonly<Record<string, KubeObject>>): unknown {
  return objects["ConfigMap kube-flannel-cfg"]?.data?.["net-conf.json"];
}

describe.skipIf(isMissing)("the chart", () => {
  test("has nothing that helm's linter finds fault with", () => {
    const { stdout, status } = spawnSync(program, ["lint", "--strict", chart], {
      encoding: "utf8",
    });
    expect(status, stdout).toBe(0);
  });

  test("makes the objects of the manifest, but for the namespace", () => {
    const { "Namespace kube-flannel": namespace, ...objects } = manifest("kube-flannel.yml");
    expect(namespace).toBeDefined();
    expect(render()).toEqual(objects);
  });

  test("makes the agent's, if asked", () => {
    const rendered = render("agent.enabled=true");
    const agent = manifest("kube-flannel-agent.yml");
    expect(rendered).toMatchObject(agent);
    expect(Object.keys(rendered)).toHaveLength(Object.keys(render()).length + 1);
  });

  test.for<[string, Values, object]>([
    [
      "vxlan's options",
      [
        ...["flannel.backendPort=4789", "flannel.mtu=1400", "flannel.vni=7", "flannel.GBP=true"],
        ...["flannel.directRouting=true", 'flannel.macPrefix="0E-2A"'],
      ],
      {
        EnableNFTables: false,
        Network: "10.244.0.0/16",
        Backend: {
          ...{ Type: "vxlan", Port: 4789, MTU: 1400, VNI: 7, GBP: true, DirectRouting: true },
          MacPrefix: "0E-2A",
        },
      },
    ],
    [
      "wireguard's options",
      [
        ...['flannel.backend="wireguard"', "flannel.backendPort=1", "flannel.backendPortv6=2"],
        ...['flannel.psk="key"', 'flannel.tunnelMode="auto"', "flannel.keepaliveInterval=25"],
        "flannel.mtu=1400",
      ],
      {
        ...{ EnableNFTables: false, Network: "10.244.0.0/16" },
        Backend: {
          ...{ Type: "wireguard", ListenPort: 1, ListenPortV6: 2, MTU: 1400, PSK: "key" },
          ...{ Mode: "auto", PersistentKeepaliveInterval: 25 },
        },
      },
    ],
    [
      "both families and nftables",
      ['podCidrv6="fd00::/48"', "flannel.enableNFTables=true", 'flannel.backend="host-gw"'],
      {
        ...{ EnableNFTables: true, Network: "10.244.0.0/16", Backend: { Type: "host-gw" } },
        ...{ EnableIPv6: true, IPv6Network: "fd00::/48" },
      },
    ],
    [
      "IPv6 alone",
      ['podCidr=""', 'podCidrv6="fd00::/48"'],
      {
        ...{ EnableNFTables: false, EnableIPv4: false, EnableIPv6: true },
        ...{ IPv6Network: "fd00::/48", Backend: { Type: "vxlan" } },
      },
    ],
    [
      "a backend's keys by their own names",
      ['flannel.backend="extension"', 'flannel.backendOptions={"SubnetAddCommand":"/add"}'],
      {
        ...{ EnableNFTables: false, Network: "10.244.0.0/16" },
        Backend: { Type: "extension", SubnetAddCommand: "/add" },
      },
    ],
  ])("writes net-conf.json with %s", ([, values, conf]) => {
    expect(netConfOf(render(...values))).toEqual(conf);
  });

  test("takes the other values of flannel's own chart", () => {
    const objects = render(
      'global.imagePullSecrets=[{"name":"secret"}]',
      'flannel.image={"repository":"registry.example/flannel-cni","tag":"9"}',
      'flannel.cniBinDir="/usr/libexec/cni"',
      'flannel.cniConfDir="/etc/cni/other"',
      "flannel.skipCNIConfigInstallation=true",
      'flannel.args=["--kube-subnet-mgr","--iface=eth1"]',
      String.raw`flannel.cniConf="{\"name\": \"n\", \"cniVersion\": \"1.0.0\", \"plugins\": []}"`,
      'flannel.resources={"limits":{"memory":"64Mi"}}',
      'flannel.healthz={"port":0}',
      "flannel.tolerations=[]",
      'flannel.nodeSelector={"a":"b"}',
    );
    expect(objects["ConfigMap kube-flannel-cfg"]?.data?.["cni-conf.json"]).toMatchObject({
      name: "n",
    });
    const daemonSet = objects["DaemonSet kube-flannel-ds"];
    expect(daemonSet).toMatchObject({
      spec: {
        template: {
          spec: {
            imagePullSecrets: [{ name: "secret" }],
            nodeSelector: { a: "b" },
            initContainers: [
              {
                image: "registry.example/flannel-cni:9",
                command: ["/flannel", "install-cni", "--no-conf"],
              },
            ],
            containers: [
              {
                args: ["--kube-subnet-mgr", "--iface=eth1"],
                resources: { limits: { memory: "64Mi" } },
              },
            ],
            volumes: expect.arrayContaining([
              expect.objectContaining({
                hostPath: { path: "/usr/libexec/cni", type: "DirectoryOrCreate" },
              }),
              expect.objectContaining({
                hostPath: { path: "/etc/cni/other", type: "DirectoryOrCreate" },
              }),
            ]),
          },
        },
      },
    });
    expect(JSON.stringify(daemonSet)).not.toMatch(/Probe|tolerations/);
  });

  test.for([
    ["netpol.enabled=true", "netpol.enabled is not part of this chart"],
    ['flannel.flannel_cni={"image":{"tag":"x"}}', "flannel.flannel_cni has no meaning here"],
    ['flannel.image.repository="ghcr.io/flannel-io/flannel"', "must be an image of flannel-cni"],
    ['flannel.backend="ipip"', "flannel.backend must be one of vxlan, host-gw, wireguard"],
    ['flannel.backend="udp"', "flannel.backend udp needs /dev/net/tun"],
    ["flannel.psk=1", "flannel.psk is an option of the backend wireguard"],
    ["flannel.backendPortv6=51821", "flannel.backendPortv6 is an option of the backend wireguard"],
    ['flannel.tunnelMode="auto"', "flannel.tunnelMode is an option of the backend wireguard"],
    [
      "flannel.keepaliveInterval=5",
      "flannel.keepaliveInterval is an option of the backend wireguard",
    ],
    ['flannel={"backend":"wireguard","vni":2}', "flannel.vni is an option of the backend vxlan"],
    ['flannel={"backend":"host-gw","mtu":1400}', "of the backends vxlan and wireguard"],
    ['flannel={"backend":"host-gw","vni":2}', "flannel.vni is an option of the backend vxlan"],
    ['podCidr=""', "podCidr or podCidrv6 must be set"],
  ])("refuses %s with a sentence", ([value = "", sentence = ""]) => {
    const { status, stderr } = spawnSync(
      program,
      ["template", "flannel", chart, ...flagsOf([value])],
      { encoding: "utf8" },
    );
    expect(status).toBe(1);
    expect(stderr).toContain(sentence);
  });
});

describe.runIf(isMissing)("the chart", () => {
  beforeAll(() => {
    console.warn("The chart is not tested: `make kubernetes`, which needs Go, has not built helm.");
  });
  test("has a version of this suite's", () => {
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    expect(readFileSync(join(chart, "Chart.yaml"), "utf8")).toContain(`version: ${version}\n`);
  });
});

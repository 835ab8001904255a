/** deploy/chart: what helm makes of it, against the manifests and the values of flannel's own chart. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { helm, missingPrograms } from "../../../scripts/kubernetes/programs.ts";
import {
  helmProgram,
  objectsOf,
  refusalOf,
  render,
  type KubeObjects,
  type Values,
} from "./helm.ts";

const chart = "deploy/chart";
const isMissing = missingPrograms(helm).length > 0;

function manifest(file: string): KubeObjects {
  return objectsOf(readFileSync(join("deploy", file), "utf8"));
}

function made(...values: Values): KubeObjects {
  return render(chart, values);
}

function netConfOf(objects: KubeObjects): unknown {
  return objects["ConfigMap kube-flannel-cfg"]?.data?.["net-conf.json"];
}

describe.skipIf(isMissing)("the chart", () => {
  test("has nothing that helm's linter finds fault with", () => {
    const { stdout, status } = spawnSync(helmProgram, ["lint", "--strict", chart], {
      encoding: "utf8",
    });
    expect(status, stdout).toBe(0);
  });

  test("makes the objects of the manifest, but for the namespace", () => {
    const { "Namespace kube-flannel": namespace, ...objects } = manifest("kube-flannel.yml");
    expect(namespace).toBeDefined();
    expect(made()).toEqual(objects);
  });

  test("makes the agent's, if asked", () => {
    const rendered = made("agent.enabled=true");
    const agent = manifest("kube-flannel-agent.yml");
    expect(rendered).toMatchObject(agent);
    expect(Object.keys(rendered)).toHaveLength(Object.keys(made()).length + 1);
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
      "ipip's option",
      ['flannel.backend="ipip"', "flannel.directRouting=true"],
      {
        ...{ EnableNFTables: false, Network: "10.244.0.0/16" },
        Backend: { Type: "ipip", DirectRouting: true },
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
    expect(netConfOf(made(...values))).toEqual(conf);
  });

  test("takes the other values of flannel's own chart", () => {
    const objects = made(
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
    ['flannel.backend="ipsec"', "flannel.backend must be one of vxlan, host-gw, wireguard, ipip"],
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
    [
      'flannel={"backend":"host-gw","directRouting":true}',
      "flannel.directRouting is an option of the backends vxlan and ipip",
    ],
    ['flannel={"backend":"ipip","mtu":1400}', "of the backends vxlan and wireguard"],
    ['flannel={"backend":"host-gw","vni":2}', "flannel.vni is an option of the backend vxlan"],
    ['podCidr=""', "podCidr or podCidrv6 must be set"],
  ])("refuses %s with a sentence", ([value = "", sentence = ""]) => {
    expect(refusalOf(chart, [value])).toContain(sentence);
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

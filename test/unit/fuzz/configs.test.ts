/** Whatever a runtime, an operator or another plugin passes is read, or is an error with a code. */
import { describe } from "vitest";

import { parseBridgeConf } from "../../../plugins/bridge/conf.ts";
import { layer3 } from "../../../plugins/bridge/layer3.ts";
import { planContainer } from "../../../plugins/bridge/plan_container.ts";
import { parseFlannelConf } from "../../../plugins/flannel/conf.ts";
import { delegateConf } from "../../../plugins/flannel/delegate_conf.ts";
import { parseSubnetEnv } from "../../../shared/flannel/subnet_env.ts";
import { parseConf } from "../../../shared/ipam/conf.ts";
import { parseOwner } from "../../../shared/ipam/reservation.ts";
import { parseResolvConf } from "../../../plugins/host-local/resolv_conf.ts";
import { parsePortmapConf } from "../../../plugins/portmap/conf.ts";
import { Failure } from "../../../shared/base/failure.ts";
import { CniError } from "../../../shared/cni/error.ts";
import { isJsonObject, parseJson } from "../../../shared/base/json.ts";
import { readRequest } from "../../../shared/cni/request.ts";
import type { Request, Verb } from "../../../shared/cni/request.ts";
import { versionOf } from "../../../shared/cni/version.ts";
import { readPrevResult, readResult, writeResult } from "../../../shared/cni/result_codec.ts";
import { formatAddress, parseAddress } from "../../../shared/net/address.ts";
import { formatCidr, parseCidr } from "../../../shared/net/cidr.ts";
import type { Json, JsonObject } from "../../../shared/base/json.ts";
import { parseMac } from "../../../shared/net/mac.ts";
import { fuzz, likeTexts, likeValues } from "./hostile.ts";

const result = {
  cniVersion: "1.1.0",
  interfaces: [
    { name: "cni0" },
    { name: "eth0", mac: "02:00:00:00:00:01", sandbox: "/run/netns/a" },
  ],
  ips: [{ interface: 1, address: "10.244.1.2/24", gateway: "10.244.1.1" }],
  routes: [{ dst: "0.0.0.0/0", gw: "10.244.1.1", mtu: 1400, table: 7 }],
  dns: { nameservers: ["10.0.0.10"], search: ["svc"], options: ["ndots:5"] },
};
const legacy = {
  cniVersion: "0.2.0",
  ip4: { ip: "10.244.1.2/24", gateway: "10.244.1.1", routes: [{ dst: "0.0.0.0/0" }] },
};
const ipam = {
  type: "host-local",
  dataDir: "/var/lib/cni/networks",
  subnet: "10.244.9.0/24",
  ranges: [
    [{ subnet: "10.244.1.0/24", rangeStart: "10.244.1.9", rangeEnd: "10.244.1.99" }],
    [{ subnet: "fd00::/64", gateway: "fd00::1" }],
  ],
  routes: [{ dst: "10.244.0.0/16" }],
};
const configs: readonly JsonObject[] = [
  {
    cniVersion: "1.1.0",
    name: "cbr0",
    type: "bridge",
    bridge: "cni0",
    isDefaultGateway: true,
    ipMasq: true,
    mtu: 1450,
    vlanTrunk: [{ id: 7 }, { minID: 8, maxID: 9 }],
    ipam,
    args: { cni: { ips: ["10.244.1.7"], mac: "02:00:00:00:00:07" } },
    prevResult: result,
    runtimeConfig: { mac: "02:00:00:00:00:09", ips: ["10.244.1.8/24"], ipRanges: ipam.ranges },
  },
  {
    cniVersion: "1.0.0",
    name: "cbr0",
    type: "flannel",
    subnetFile: "/run/flannel/subnet.env",
    dataDir: "/var/lib/cni/flannel",
    delegate: { type: "bridge", hairpinMode: true, mtu: 1400, routes: [] },
    ipam: { type: "host-local", routes: [{ dst: "192.0.2.0/24" }] },
  },
  {
    cniVersion: "1.0.0",
    name: "cbr0",
    type: "portmap",
    snat: true,
    masqAll: false,
    markMasqBit: 13,
    conditionsV4: ["!", "-d", "192.0.2.0/24"],
    conditionsV6: [],
    backend: "iptables",
    runtimeConfig: {
      portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "192.0.2.1" }],
    },
    prevResult: result,
  },
];

const verbs: readonly Verb[] = ["ADD", "DEL", "CHECK", "GC", "STATUS"];
const request = (verb: Verb): Request => ({
  verb,
  containerId: "pod1",
  netns: "/run/netns/pod1",
  ifname: "eth0",
  args: "IP=10.244.1.5",
  path: [],
  netnsOverride: false,
});
const node = { networks: [], subnets: [parseCidr("10.244.1.0/24")], mtu: 1450, ipMasq: true };

/** Runs every plugin's parser on a config, and makes the plans that follow. */
function readConfig(raw: JsonObject): void {
  const failures: unknown[] = [];
  const attempt = (action: () => void): void => {
    try {
      action();
    } catch (error) {
      failures.push(error);
    }
  };
  for (const verb of verbs) {
    const call = request(verb);
    attempt(() => {
      const conf = parseBridgeConf(raw, call, () => undefined);
      const found = readPrevResult(raw, versionOf(raw));
      if (found !== undefined) planContainer(conf, "eth0", layer3(conf, found));
    });
    attempt(() =>
      delegateConf(
        parseFlannelConf(raw, call, () => undefined),
        node,
      ),
    );
    attempt(() => parseConf(raw, call));
    attempt(() => parsePortmapConf(raw, call, () => undefined));
  }
  // Each may fail with a code. The caller judges the last one.
  for (const failure of failures) if (!isExpected(failure)) throw failure;
  if (failures.length > 0) throw failures[0];
}

function isExpected(failure: unknown): boolean {
  return failure instanceof CniError || failure instanceof Failure;
}

const asObject = (text: string): JsonObject => {
  const value = parseJson(text);
  return isJsonObject(value) ? value : {};
};
const identity = (text: string): string => text;

describe("configs", () => {
  fuzz(
    "a config by value",
    likeValues(configs),
    (value: Json) => {
      if (isJsonObject(value)) readConfig(value);
    },
    (text) => parseJson(text) ?? null,
  );
  fuzz(
    "a config by text",
    likeTexts(configs.map((conf) => JSON.stringify(conf))),
    (text) => {
      readConfig(asObject(text));
    },
    identity,
  );
  fuzz(
    "a result",
    likeValues([result, legacy, { ...result, cniVersion: "0.3.1" }]),
    (value: Json) => {
      if (!isJsonObject(value)) return;
      const read = readResult(value, "1.0.0", { what: "the result", advice: "Look at it." });
      for (const version of ["1.1.0", "0.3.1"] as const) JSON.stringify(writeResult(read, version));
    },
    (text) => parseJson(text) ?? null,
  );
});

describe("what the runtime sets", () => {
  const environment =
    "CNI_COMMAND=ADD\nCNI_CONTAINERID=pod1\nCNI_NETNS=/run/netns/a\nCNI_IFNAME=eth0\nCNI_PATH=/opt/cni/bin:/x\nCNI_ARGS=IP=10.0.0.7;K8S_POD_NAME=a;IgnoreUnknown=1";
  fuzz(
    "the environment",
    likeTexts([environment, environment.replace("ADD", "DEL"), environment.replace("ADD", "GC")]),
    (text) => {
      const env = Object.fromEntries(
        text.split("\n").map((line) => [line.split("=", 1)[0] ?? "", line.replace(/^[^=]*=/, "")]),
      );
      const { containerId, ifname } = readRequest(env);
      // Either becomes part of a path.
      if (/[/\0]|^\.\.?$/.test(containerId)) throw new Error("an id that is a path");
      if (/[/\0]|^\.\.?$/.test(ifname)) throw new Error("an interface that is a path");
    },
    identity,
  );
});

describe("files", () => {
  fuzz(
    "subnet.env",
    likeTexts([
      "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
      'export FLANNEL_IPV6_NETWORK="fd00::/48"\r\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\r\nFLANNEL_MTU=1450\r\nFLANNEL_IPMASQ=false\r\n',
    ]),
    (text) => parseSubnetEnv(text, "/run/flannel/subnet.env"),
    identity,
  );
  fuzz(
    "a reservation",
    likeTexts(["pod1\r\neth0", "pod1\n", "\0\0\0\0"]),
    (text) => parseOwner(text),
    identity,
  );
  fuzz(
    "resolv.conf",
    likeTexts(["nameserver 10.0.0.10\nsearch a b\noptions ndots:5 edns0\n# x\ndomain c\n"]),
    (text) => parseResolvConf(text),
    identity,
  );
});

describe("words", () => {
  fuzz(
    "an address",
    likeTexts(["10.244.1.2", "fd00:10:244:1::2", "::ffff:10.0.0.1"]),
    (text) => {
      const address = parseAddress(text);
      const again = parseAddress(formatAddress(address));
      if (again.value !== address.value) throw new Error("another address");
    },
    identity,
  );
  fuzz(
    "a CIDR",
    likeTexts(["10.244.1.0/24", "fd00::/64", "0.0.0.0/0"]),
    (text) => {
      const cidr = parseCidr(text);
      if (parseCidr(formatCidr(cidr)).prefix !== cidr.prefix) throw new Error("another CIDR");
    },
    identity,
  );
  fuzz("a MAC", likeTexts(["02:00:00:00:00:01"]), (text) => parseMac(text), identity);
});

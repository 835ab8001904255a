/** Network configs: which is used, and what contradicts itself. */
import { CniError, Code } from "../../../../../../shared/cni/error.ts";
import { MisnamedList } from "../../../../../../shared/libcni/list.ts";
import { parseCidr } from "../../../../../../shared/net/cidr.ts";
import { network, otherNetwork, pluginFile, plugins, range, testFaults } from "../view.ts";

const problem = (code: number, message: string): CniError => new CniError(code, message, "Advice.");

testFaults([
  {
    name: "there is no network config",
    id: "no-config",
    severity: "error",
    changes: { configs: { files: [], network: undefined } },
    what: "/etc/cni/net.d has no network config",
    fix: "rollout restart",
  },
  {
    name: "the only network config is broken, and stays",
    id: "broken-config",
    severity: "error",
    changes: {
      configs: {
        network: undefined,
        files: [{ file: "/etc/cni/net.d/10-a.conflist", network: problem(6, "It is no JSON.") }],
      },
    },
    what: "It is no JSON.",
    fix: "correct /etc/cni/net.d/10-a.conflist",
  },
  {
    name: "another network config is broken",
    id: "broken-config",
    changes: {
      configs: {
        files: [
          { file: network.file, network },
          { file: "/etc/cni/net.d/90-x.conf", network: problem(6, "It is no JSON.") },
        ],
      },
    },
    what: "It is no JSON.",
    fix: "mv /etc/cni/net.d/90-x.conf /etc/cni/net.d/90-x.conf.broken",
  },
  {
    name: "a list has the name of a single config",
    id: "broken-config",
    severity: "error",
    changes: {
      configs: {
        network: undefined,
        files: [{ file: "/n/10-a.conf", network: new MisnamedList("/n/10-a.conf") }],
      },
    },
    what: "it is a list of plugins",
    fix: "mv /n/10-a.conf /n/10-a.conflist",
  },
  {
    name: "the network is of a version that there is not",
    id: "unknown-version",
    severity: "error",
    changes: {
      configs: { network: { ...network, cniVersion: "9.0.0" } },
      ...plugins(pluginFile("flannel", { versions: ["9.0.0"] })),
    },
    what: '"9.0.0"',
    fix: "sed -i",
  },
  {
    name: "a gateway is in no subnet of the pods",
    id: "gateway-outside-subnet",
    severity: "error",
    changes: { rangeSets: [range("10.244.1.0/24", "10.9.9.1", "10.244.1.1", "10.244.1.254")] },
    what: "The gateway 10.9.9.1 is not in its subnet, 10.244.1.0/24",
    fix: network.file,
  },
  {
    name: "portmap is passed no host ports",
    id: "no-port-mappings",
    changes: { configs: { network: { ...network, plugins: [{ type: "portmap" }] } } },
    what: "portMappings",
    fix: "add",
  },
  {
    name: "there is a second network config",
    id: "several-configs",
    changes: {
      configs: { unused: [{ network: otherNetwork("b", "/n/20-b.conf"), subnets: [] }] },
    },
    what: "comes before /n/20-b.conf",
    fix: "mv /n/20-b.conf /n/20-b.conf.disabled",
  },
  {
    name: "pods are attached to the second network",
    id: "several-configs",
    changes: {
      configs: { unused: [{ network: otherNetwork("b", "/n/20-b.conf"), subnets: [] }] },
      usedNetworks: new Set(["b"]),
    },
    what: "comes before /n/20-b.conf",
    fix: "leave /n/20-b.conf where it is while pods are attached to the network b",
  },
  {
    name: "pods are attached to the network that wins over flannel's",
    id: "other-config-wins",
    severity: "error",
    changes: {
      configs: {
        network: otherNetwork("a", "/n/05-a.conf"),
        unused: [{ network, subnets: [] }],
      },
      usedNetworks: new Set(["a"]),
      cached: [],
      pods: [],
      ...plugins(pluginFile("loopback")),
      links: [],
      reserved: [],
    },
    what: "/n/05-a.conf comes before flannel's",
    fix: "leave /n/05-a.conf where it is",
  },
  {
    name: "pods are attached to a network that gives the same addresses",
    id: "same-subnet",
    severity: "error",
    changes: {
      configs: {
        unused: [
          { network: otherNetwork("b", "/n/20-b.conf"), subnets: [parseCidr("10.244.0.0/16")] },
        ],
      },
      usedNetworks: new Set(["b"]),
    },
    what: "both hand out addresses of 10.244.0.0/16",
    fix: "leave /n/20-b.conf where it is",
    also: ["several-configs"],
  },
  {
    name: "another network config wins over flannel's",
    id: "other-config-wins",
    severity: "error",
    changes: {
      configs: {
        network: otherNetwork("a", "/n/05-a.conf"),
        unused: [{ network, subnets: [] }],
      },
      cached: [],
      pods: [],
      ...plugins(pluginFile("loopback")),
      links: [],
      reserved: [],
    },
    what: "/n/05-a.conf comes before flannel's",
    fix: "mv /n/05-a.conf",
  },
  {
    name: "two networks give the same addresses",
    id: "same-subnet",
    severity: "error",
    changes: {
      configs: {
        unused: [
          { network: otherNetwork("b", "/n/20-b.conf"), subnets: [parseCidr("10.244.0.0/16")] },
        ],
      },
    },
    what: "both hand out addresses of 10.244.0.0/16",
    fix: "mv /n/20-b.conf",
    also: ["several-configs"],
  },
  {
    name: "a plugin refuses its config",
    id: "bad-plugin-config",
    severity: "error",
    changes: {
      configs: {
        chains: [
          {
            chain: [{ type: "bridge", conf: {} }],
            problem: problem(Code.InvalidNetworkConfig, "mtu must be an integer."),
          },
        ],
      },
    },
    what: "mtu must be an integer.",
    fix: network.file,
  },
  {
    name: "subnet.env is not there",
    id: "no-subnet",
    severity: "error",
    changes: {
      configs: {
        chains: [
          {
            chain: [{ type: "flannel", conf: {} }],
            problem: problem(50, "There is no subnet.env."),
          },
        ],
      },
    },
    what: "There is no subnet.env.",
    fix: "kubectl -n kube-flannel logs",
  },
  {
    name: "another plugin is not ready",
    id: "not-ready",
    severity: "error",
    changes: {
      configs: {
        chains: [{ chain: [{ type: "ptp", conf: {} }], problem: problem(50, "No way.") }],
      },
    },
    what: "ptp: No way.",
    fix: "Advice.",
  },
]);

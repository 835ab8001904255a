/** The bridge: its addresses, its MTU, and ports of no pod. */
import { expect, it } from "vitest";
import { parseCidr } from "../../../../../../shared/net/cidr.ts";
import { findingsOf } from "../../../../../../tools/cnitool/doctor/findings.ts";
import {
  BRIDGE,
  idsOf,
  link,
  namespace,
  range,
  RANGES,
  testFaults,
  testFine,
  viewOf,
} from "../view.ts";

const kept = viewOf();

testFaults([
  {
    name: "the bridge is gone",
    id: "no-bridge",
    severity: "error",
    changes: { links: [] },
    what: "cni0 is gone, and 2 pods were connected to it",
    fix: "kubectl delete pod, for each of: pod1, pod2",
  },
  {
    name: "something else has the bridge's name",
    id: "no-bridge",
    severity: "error",
    changes: { links: [link(3, "cni0", { kind: "dummy" })] },
    what: "cni0 is not a bridge but a dummy",
    fix: "ip link delete cni0",
  },
  {
    name: "the bridge is down",
    id: "bridge-down",
    severity: "error",
    changes: { links: [{ ...BRIDGE, up: false }, ...kept.links.slice(1)] },
    what: "cni0 is down",
    fix: "ip link set cni0 up",
  },
  {
    name: "the bridge has all the ports that it can have",
    id: "bridge-full",
    severity: "error",
    changes: {
      links: [
        ...kept.links,
        ...Array.from({ length: 1023 }, (_, n) =>
          link(100 + n, `port${n}`, { kind: "vlan", master: BRIDGE.index }),
        ),
      ],
    },
    what: "ports, and the kernel allows a bridge no more.",
    fix: "give the node fewer pods",
  },
  {
    name: "the bridge lacks an address",
    id: "no-gateway-address",
    severity: "error",
    changes: { bridge: { addresses: [] }, rangeSets: RANGES.slice(0, 1) },
    what: "cni0 has no address 10.244.1.1/24.",
    fix: "ip address add 10.244.1.1/24 dev cni0",
  },
  {
    name: "the bridge has a foreign address",
    id: "foreign-address",
    severity: "error",
    changes: {
      bridge: { addresses: [...(kept.bridge?.addresses ?? []), parseCidr("10.99.0.1/24")] },
    },
    what: "cni0 has the address 10.99.0.1/24",
    fix: "ip address delete 10.99.0.1/24 dev cni0",
  },
  {
    name: "a port has another MTU",
    id: "wrong-mtu",
    changes: { links: [BRIDGE, link(4, "veth-pod1", { master: 3, mtu: 1500 })] },
    what: "veth-pod1 is 1500, and the network's is 1450",
    fix: "ip link set veth-pod1 mtu 1450",
  },
  {
    name: "the bridge has another MTU than its ports",
    id: "wrong-mtu",
    changes: { links: [{ ...BRIDGE, mtu: 1500 }, ...kept.links.slice(1)] },
    what: "cni0 is 1500, and the network's is 1450",
    fix: "ip link set cni0 mtu 1450",
  },
  {
    name: "a port leads to the node itself",
    id: "port-without-pod",
    changes: { bridge: { strayPorts: [{ name: "lost", peer: "node" }] } },
    what: "belong to no known pod: lost",
    fix: "ip link delete lost",
  },
  {
    name: "nobody knows where a port leads",
    id: "port-without-pod",
    changes: { bridge: { strayPorts: [{ name: "lost", peer: undefined }] } },
    what: "belong to no known pod: lost",
    fix: "check where it leads before you delete it",
  },
  {
    name: "a port leads to a namespace of no known pod",
    id: "unknown-pod",
    changes: { bridge: { strayPorts: [{ name: "v9", peer: namespace("/run/netns/p9") }] } },
    what: "v9 (/run/netns/p9)",
    fix: "look what runs there: nsenter --net=/run/netns/p9",
  },
]);

testFine([
  [
    "the MTU of a bridge without ports",
    { links: [{ ...BRIDGE, mtu: 1500 }], pods: [], cached: [], reserved: [] },
  ],
  [
    "a link-local gateway",
    {
      rangeSets: [range("fd00:1::/64", "fe80::1", "fd00:1::1", "fd00:1::f")],
      bridge: { addresses: [parseCidr("fe80::1/64")] },
    },
  ],
  [
    "a gateway elsewhere, where the bridge is none",
    {
      bridge: { conf: { bridge: "cni0" } },
      rangeSets: [range("10.244.1.0/24", "10.9.9.1", "10.244.1.1", "10.244.1.254")],
    },
  ],
]);

it("an address that pods have for their gateway is not simply deleted", () => {
  const [finding] = findingsOf(
    viewOf({
      rangeSets: [range("10.244.7.0/24", "10.244.7.1", "10.244.7.1", "10.244.7.254")],
      bridge: { addresses: [parseCidr("10.244.1.1/24"), parseCidr("10.244.7.1/24")] },
    }),
  );
  expect(finding).toMatchObject({
    id: "foreign-address",
    fix: "delete the pods that use it as their gateway (pod1, pod2), then: ip address delete 10.244.1.1/24 dev cni0",
  });
});

it("a contradiction in the config hides what would follow from it", () => {
  const rangeSets = [range("10.244.1.0/24", "10.9.9.1", "10.244.1.1", "10.244.1.254")];
  const bridge = { addresses: [parseCidr("10.244.1.1/24")] };
  expect(idsOf({ rangeSets, bridge })).toEqual(["gateway-outside-subnet"]);
});

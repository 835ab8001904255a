/** What drifts at any moment of a repair: also just after flanneld has looked at it. */
import { expect, test } from "vitest";
import { until, type Daemon } from "../../helpers/flanneld.ts";
import { createKubeNodes, prefix, startOnKube, whenReady } from "../../helpers/flanneld_nodes.ts";
import { isBun, soak } from "../../helpers/form.ts";
import type { FabricNode } from "../../lab/fabric.ts";

const bursts = soak ? 300 : 15;

const routes = ["ip route flush proto 70", "ip route delete 10.244.3.0/24"];
const external = "ip link set eth0 mtu 1400; ip link set eth0 mtu 1500";

const driftsOf = (device: string) => [
  `ip link delete ${device}`,
  `ip link set ${device} down`,
  `ip link set ${device} down; ip link set ${device} up`,
  `ip address flush dev ${device}`,
  `ip link set ${device} mtu 1300`,
  ...[...routes, external],
];

const rows = [
  {
    ...{ type: "vxlan", announced: "vxlan", device: "flannel.1", count: 12 },
    drifts: [
      ...driftsOf("flannel.1"),
      "ip neighbour flush dev flannel.1 nud permanent",
      "bridge fdb delete 02:00:00:00:00:02 dev flannel.1 self",
    ],
  },
  {
    ...{ type: "udp", announced: "", device: "flannel0", count: 4 },
    drifts: [...driftsOf("flannel0"), "ip route delete 10.244.0.0/16"],
  },
  {
    ...{ type: "host-gw", announced: "host-gw", device: "none", count: 3 },
    drifts: [...routes, external, "ip route delete 10.244.2.0/24"],
  },
  {
    ...{ type: "alloc", announced: "alloc", device: "none", count: 10 },
    drifts: [
      "iptables -t nat -F FLANNEL-POSTRTG",
      "iptables -t nat -F POSTROUTING",
      "iptables -F FLANNEL-FWD",
      "iptables -D FORWARD 1",
    ],
  },
].filter(({ type }) => isBun || type !== "udp");

/** What there is that flanneld has to put right, a line for each. */
async function stateOf({ sandbox }: FabricNode, device: string): Promise<string> {
  return sandbox.sh(`set +e
    ip -o link show ${device} 2>/dev/null | sed -E 's/.*[<,]UP[,>].* (mtu [0-9]+) .*/up, \\1/'
    ip -o -4 address show dev ${device} 2>/dev/null | grep -oE 'inet [0-9./]+'
    cat /proc/sys/net/ipv6/conf/${device}/accept_ra 2>/dev/null
    ip -4 neighbour show dev ${device} nud permanent 2>/dev/null | sort
    bridge fdb show dev ${device} 2>/dev/null | sort
    ip route show proto 70
    iptables-save | grep -E '^-A.*(FLANNEL|flannel)'
    true
  `);
}

async function expectState(node: FabricNode, device: string, wanted: string, daemon: Daemon) {
  let now = "";
  const isRight = async () => (now = await stateOf(node, device)) === wanted;
  try {
    await until("the repair", isRight, daemon);
  } catch (error) {
    throw new Error(`It is\n${now}\nand not\n${wanted}`, { cause: error });
  }
}

test.for(rows)("$type", async ({ type, announced, device, count, drifts }) => {
  await using cluster = await createKubeNodes(1, { Backend: { Type: type } });
  const node = cluster.node(1);
  await cluster.api.call("setNode", "n1", { podCIDRs: ["10.244.1.0/24"] });
  for (const number of [2, 3, 4]) {
    await cluster.api.call("setNode", `n${number}`, {
      podCIDRs: [`10.244.${number}.0/24`],
      annotations: {
        [`${prefix}kube-subnet-manager`]: "true",
        [`${prefix}backend-type`]: announced,
        [`${prefix}backend-data`]: `{"VNI":1,"VtepMAC":"02:00:00:00:00:0${number}"}`,
        [`${prefix}public-ip`]: `10.77.0.1${number}`,
      },
    });
  }
  const masquerades = type === "alloc" ? [] : ["-ip-masq=false", "-iptables-forward-rules=false"];
  const daemon = startOnKube(node, ...masquerades);
  await whenReady(node, daemon);
  const wanted = await stateOf(node, device);
  expect(wanted.trim().split("\n")).toHaveLength(count);

  for (let burst = 0; burst < bursts; burst++) {
    // Between none and 60 ms apart, as a repair begins after 10 and takes some more.
    const script = [0, 1, 2].slice(burst % 3).map((step) => {
      const drift = drifts[(burst * (step + 1) + step) % drifts.length] ?? "";
      return `{ ${drift}; } 2>/dev/null\nsleep 0.0${(burst * 17 + step * 29) % 60}`;
    });
    await node.sandbox.exec("sh", ["-c", script.join("\n")]);
    await expectState(node, device, wanted, daemon);
  }
  expect(await daemon.end()).toBe(0);
});

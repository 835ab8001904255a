/** flanneld beside kube-proxy, whose rules are in the same tables. */
import { expect, test } from "vitest";
import { until } from "../../helpers/flanneld.ts";
import { createKubeNodes, startOnKube, whenReady } from "../../helpers/flanneld_nodes.ts";
import { addFabricPod, type FabricNode } from "../../lab/fabric.ts";
import { ask, serve } from "../../lab/traffic.ts";

const clusterIp = "10.96.0.1";

/** What kube-proxy tells iptables-restore of one service, whose endpoint is a pod. */
function proxyRules(endpoint: string): string {
  return `*nat
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE
-A KUBE-SERVICES ! -s 10.244.0.0/16 -d ${clusterIp}/32 -p tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -d ${clusterIp}/32 -p tcp --dport 80 -j DNAT --to-destination ${endpoint}:80
COMMIT
`;
}

/** Its jumps, of which it has one each. */
const jumps = `
  for chain in PREROUTING OUTPUT; do
    iptables -w -t nat -C $chain -j KUBE-SERVICES 2> /dev/null || iptables -w -t nat -I $chain -j KUBE-SERVICES
  done
  iptables -w -t nat -C POSTROUTING -j KUBE-POSTROUTING 2> /dev/null ||
    iptables -w -t nat -I POSTROUTING -j KUBE-POSTROUTING
`;

async function startProxy({ sandbox }: FabricNode): Promise<void> {
  await sandbox.writeFile("/run/proxy.rules", proxyRules("10.244.2.2"));
  await sandbox.sh(`iptables-restore -w --noflush < /run/proxy.rules; ${jumps}`);
}

/** Two nodes with a pod each, the second of which serves. */
async function createNodes() {
  const nodes = await createKubeNodes(2);
  const pods = await Promise.all(
    [1, 2].map(async (number) => {
      await nodes.api.call("setNode", `n${number}`, { podCIDRs: [`10.244.${number}.0/24`] });
      const gateway = `10.244.${number}.1`;
      const addresses = [{ address: `10.244.${number}.2`, gateway, prefix: 24 }];
      return addFabricPod(nodes.node(number), { name: "pod", mtu: 1430, addresses });
    }),
  );
  const [pod, server] = pods;
  if (pod === undefined || server === undefined) throw new Error("there are two nodes");
  await serve(server, "server");
  await whenReady(nodes.node(2), startOnKube(nodes.node(2)));
  const node = nodes.node(1);
  return { ...nodes, node, pod, [Symbol.asyncDispose]: nodes[Symbol.asyncDispose] };
}

const clientOf = async (from: Parameters<typeof ask>[0]): Promise<string | undefined> =>
  (await ask(from, "tcp", clusterIp, 80))?.client;

/** flannel's rules, as iptables lists them. */
async function masqueradeRules({ sandbox }: FabricNode): Promise<string> {
  return sandbox.sh("iptables -w -t nat -S FLANNEL-POSTRTG 2> /dev/null || true");
}

test.concurrent.for([
  { first: "kube-proxy", isOld: false },
  { first: "flanneld", isOld: false },
  { first: "kube-proxy", isOld: true },
])(
  "pain 27: after a boot services work from the node and from pods, $first first, iptables of old: $isOld",
  async ({ first, isOld }) => {
    await using nodes = await createNodes();
    const { node, pod } = nodes;
    if (isOld) {
      // As iptables before 1.6.2.
      await node.sandbox.sh(`
        mkdir /run/old
        cat > /run/old/iptables-restore << 'END'
#!/bin/sh
rules=$(cat)
case $rules in *random-fully*)
  echo 'iptables-restore v1.6.1: unknown option "--random-fully"' >&2
  exit 2
esac
printf '%s\\n' "$rules" | /usr/sbin/iptables-nft-restore "$@"
END
        chmod +x /run/old/iptables-restore
        mount --bind /run/old /usr/local/sbin
      `);
    }
    if (first === "kube-proxy") await startProxy(node);
    const daemon = startOnKube(node);
    await whenReady(node, daemon);
    if (first !== "kube-proxy") await startProxy(node);
    const rules = await masqueradeRules(node);
    expect(rules.includes("--random-fully")).toBe(!isOld);
    expect(rules.match(/-j MASQUERADE/g)).toHaveLength(2);
    expect(daemon.log().includes("does not support --random-fully")).toBe(isOld);
    // By the node's address within the network: the answer finds its way back.
    await until("an answer", async () => (await clientOf(node.sandbox)) === "10.244.1.0", daemon);
    expect(await clientOf(pod)).toBe("10.244.1.2");
    await daemon.end();
  },
);

test("pain 24: no rule is lost to kube-proxy's, and connections at one time do not get one port", async () => {
  await using nodes = await createNodes();
  const { node, pod } = nodes;
  await startProxy(node);
  // It writes all of its rules again and again, while flanneld writes and others take away.
  const proxying = node.sandbox.sh(`
    until [ -e /run/enough ]; do
      iptables-restore -w --noflush < /run/proxy.rules
      ${jumps}
    done
  `);
  let rules = "";
  for (let time = 0; time < 3; time++) {
    const daemon = startOnKube(node);
    await whenReady(node, daemon);
    rules ||= await masqueradeRules(node);
    expect(await masqueradeRules(node)).toBe(rules);
    await node.sandbox.sh("iptables -w -t nat -F FLANNEL-POSTRTG");
    await until("flannel's rules", async () => (await masqueradeRules(node)) === rules, daemon);
    await daemon.end();
  }
  await node.sandbox.sh("touch /run/enough");
  await proxying;
  expect(rules.match(/-j MASQUERADE --random-fully/g)).toHaveLength(2);
  const all = await node.sandbox.sh("iptables -w -t nat -S");
  for (const jump of ["FLANNEL-POSTRTG", "KUBE-POSTROUTING"]) {
    expect(all.match(new RegExp(`^-A POSTROUTING .*-j ${jump}$`, "gm"))).toHaveLength(1);
  }
  expect(await clientOf(pod)).toBe("10.244.1.2");
});

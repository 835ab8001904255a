/** A pod with CAP_NET_ADMIN changes its own namespace. The node is not affected, and DEL cleans up. */
import { describe, expect, test } from "vitest";
import { eventually } from "../lab/eventually.ts";
import { cni, leftovers, runConflist, type Sandbox } from "../helpers/cni.ts";
import { addMappedPod, createNode, NFTABLES, IPTABLES_NFT } from "../helpers/portmap.ts";
import { expectError } from "../helpers/state.ts";
import { ask, serve } from "../lab/traffic.ts";

/** What the pod does: a script in its namespace, and whether CHECK must notice. */
const deeds: Readonly<Record<string, readonly [script: string, noticed: boolean]>> = {
  "deletes its interface": ["ip link delete eth0", true],
  "renames its interface": ["ip link set eth0 down; ip link set eth0 name x", true],
  "puts another link in its interface's place": [
    "ip link delete eth0; ip link add eth0 type veth peer name p",
    true,
  ],
  "changes its MAC": ["ip link set eth0 address 02:00:00:00:00:01", true],
  "removes its addresses": ["ip address flush dev eth0", true],
  "removes its routes": ["ip route flush table main; ip -6 route flush dev eth0", true],
  "takes its interface down": ["ip link set eth0 down", true],
  "takes the gateway's address": ["ip address add 10.244.1.1/24 dev eth0", false],
  "gives its interface names that mean something to a shell": [
    `ip link property add dev eth0 altname '$(reboot);"'; ip link set eth0 alias "$(printf '\\033]0;x\\007\\n')"`,
    false,
  ],
  "makes hundreds of links": [
    "for n in $(seq 200); do echo link add v$n type veth peer name w$n; done | ip -batch -",
    false,
  ],
  "has firewall rules of the plugins' names": [
    "iptables -t nat -N CNI-HOSTPORT-DNAT; iptables -P OUTPUT DROP; nft add table ip cni_hostport",
    false,
  ],
};

describe.concurrent("a pod that", () => {
  test.for(Object.entries(deeds))("%s", async ([, [script, noticed]]) => {
    await using node = await createNode(IPTABLES_NFT);
    await node.addPod("other");
    const before = await node.snapshot();
    const { pod, conflist } = await addMappedPod(node, IPTABLES_NFT, "pod1", {});
    await pod.sh(script);

    const check = await checkOfBridge(node, conflist);
    if (noticed) expectError(check, 105);
    else expect(check).toMatchObject({ code: 0 });
    await runConflist(node, conflist);
    // Its runtime removes the namespace after DEL. The kernel removes the links in it a little later.
    await node.removePod("pod1");
    const look = async () => leftovers(before, await node.snapshot());
    expect(await eventually(look, (left) => left.length === 0)).toEqual([]);
  });

  test("keeps its old interface does not keep its address or host port from the next", async () => {
    await using node = await createNode(NFTABLES);
    const outside = await node.addExternalHost("outside");
    const { pod, conflist, result } = await addMappedPod(node, NFTABLES, "pod1", {});
    await pod.sh("ip link set eth0 name x");
    await serve(pod, "pod1");
    await runConflist(node, conflist);
    const next = await addMappedPod(node, NFTABLES, "pod2", {});
    expect(next.result.ips?.[0]?.address).not.toBe(result.ips?.[0]?.address);
    await serve(next.pod, "pod2");
    expect(await ask(outside, "tcp", "192.0.2.1", 8080)).toMatchObject({ server: "pod2" });
  });
});

/** CHECK of the chain's first plugin, bridge. */
async function checkOfBridge(
  node: Sandbox,
  conflist: Awaited<ReturnType<typeof addMappedPod>>["conflist"],
) {
  const { conflist: list, prevResult, ...call } = conflist;
  const { name, cniVersion, plugins } = list;
  const conf = { name, cniVersion, ...plugins[0], prevResult };
  return cni(node, { ...call, plugin: "bridge", command: "CHECK", conf });
}

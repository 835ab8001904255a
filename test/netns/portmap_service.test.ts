/** Host ports beside services: both DNAT to the same pod, but only host ports masquerade. */
import { describe, expect } from "vitest";
import { testSome } from "../helpers/form.ts";
import { cniOk } from "../helpers/cni.ts";
import { DUAL_STACK } from "../helpers/network.ts";
import { addMappedPod, BACKENDS, createNode } from "../helpers/portmap.ts";
import { ask, serve } from "../lab/traffic.ts";

/** kube-proxy's rules for a service with the host port's number. */
const SERVICES = [
  { command: "iptables-nft", to: "10.96.0.10" },
  { command: "ip6tables-nft", to: "fd00:10:96::10" },
];

describe.concurrent("host ports and services", () => {
  testSome(BACKENDS)("a service's clients keep their addresses ($backend)", async (backend) => {
    await using node = await createNode(backend);
    await node.addExternalHost("outside");
    const { pod, result, portmap } = await addMappedPod(node, backend, "pod1");
    const client = await addMappedPod(node, backend, "pod2", { mappings: [] });
    await serve(pod, "pod1");
    const own = DUAL_STACK.map((family) => family.pod(0));
    const clientAddresses = DUAL_STACK.map((family) => family.pod(1));
    expect(result.ips).toHaveLength(2);
    // As on any Kubernetes node, packets between a bridge's ports pass the firewall.
    await node.sh(
      "sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1",
    );
    for (const [at, { command, to }] of SERVICES.entries()) {
      const pods = at === 0 ? own[0] : `[${own[1]}]`;
      await node.sh(
        `${command} -t nat -A PREROUTING -d ${to} -p tcp --dport 8080 -j DNAT --to-destination ${pods}:80`,
      );
      expect(await ask(client.pod, "tcp", to, 8080)).toEqual({
        server: "pod1",
        client: clientAddresses[at],
      });
    }
    await cniOk(node, { ...portmap, command: "DEL" });
  });
});

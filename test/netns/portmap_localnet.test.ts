/**
 * The node's own access to host ports by 127.0.0.1, and that nobody else gets at the node's loopback
 * services by it.
 */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import { binDir, cni, cniOk, referenceDir, type Namespace, type Sandbox } from "../helpers/cni.ts";
import { IPV4 } from "../helpers/network.ts";
import {
  addMappedPod,
  BACKENDS,
  createNode,
  IPTABLES_NFT,
  NFTABLES,
  sortedFirewall,
  type Backend,
} from "../helpers/portmap.ts";
import { ask, serve } from "../lab/traffic.ts";

const OTHER = { ...IPV4, subnet: "10.244.2.0/24", gateway: "10.244.2.1" };
const options = { cniVersion: "1.1.0", families: [IPV4] };
const web = (hostPort: number) => [{ hostPort, containerPort: 80, protocol: "tcp" }];
/** Something of the node's, that listens on 127.0.0.1 because nobody else should reach it. */
const SERVICE = 10_248;
const RECORDS = "/run/flannel-cni/portmap";
/** What is in the firewall for a link with host ports. */
const OF_LINK = /127\.0\.0\.0|CNI-LN-/;

/** Makes a pod's kernel send what is for 127.0.0.1 to its gateway. CAP_NET_ADMIN is enough for it. */
async function turnLoopbackOut(pod: Namespace): Promise<void> {
  await pod.sh(`
    echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet
    ip address flush dev lo
    ip route flush table local 127.0.0.0/8 2>/dev/null || true
    ip route add 127.0.0.1 via ${IPV4.gateway} dev eth0 src $(ip -o -4 address show eth0 | grep -o "10[.0-9]*" | head -n 1)
  `);
}

/** Whether the pod reaches the node's service. */
async function reaches(pod: Namespace): Promise<boolean> {
  return (await ask(pod, "tcp", "127.0.0.1", SERVICE, 1)) !== undefined;
}

async function routeLocalnet(node: Sandbox, link = "cni0"): Promise<string> {
  return node.sysctl(`net/ipv4/conf/${link}/route_localnet`);
}

/** Removes what drops, as a reload of the firewall would. */
async function unguard(node: Sandbox, { backend, env }: Backend): Promise<void> {
  await node.sh(
    backend === "nftables"
      ? "nft flush chain ip cni_hostport localnet"
      : "iptables -t mangle -F; iptables -t mangle -X",
    { env },
  );
}

describe.concurrent("route_localnet", () => {
  testSome(BACKENDS)("opens the node's 127.0.0.1 to no pod ($backend)", async (backend) => {
    await using node = await createNode(backend);
    await serve(node, "service", { tcp: SERVICE });
    const first = await addMappedPod(node, backend, "first", { ...options, mappings: web(8080) });
    const hostile = await addMappedPod(node, backend, "hostile", { ...options, mappings: [] });
    await serve(first.pod, "first");
    expect(await routeLocalnet(node)).toBe("1");
    expect(await ask(node, "tcp", "127.0.0.1", 8080)).toMatchObject({ server: "first" });
    await turnLoopbackOut(hostile.pod);
    expect(await reaches(hostile.pod)).toBe(false);
    // This is what it would get otherwise; each of these makes it good.
    await unguard(node, backend);
    expect(await reaches(hostile.pod)).toBe(true);
    const valid = ["first", "hostile"].map((containerID) => ({ containerID, ifname: "eth0" }));
    const gc = { ...first.portmap.conf, "cni.dev/valid-attachments": valid };
    await cniOk(node, { ...first.portmap, conf: gc, command: "GC" });
    expect(await reaches(hostile.pod)).toBe(false);
    await unguard(node, backend);
    const second = await addMappedPod(node, backend, "second", { ...options, mappings: web(8081) });
    expect(await reaches(hostile.pod)).toBe(false);
    expect(await ask(node, "tcp", "127.0.0.1", 8080)).toMatchObject({ server: "first" });
    for (const { portmap } of [first, second]) await cniOk(node, { ...portmap, command: "DEL" });
    expect(await reaches(hostile.pod)).toBe(false);
  });

  testSome(BACKENDS)("lets no pod seem to be the node ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { pod } = await addMappedPod(node, backend, "hostile", {
      ...options,
      mappings: web(8080),
    });
    await node.sh(`
      for link in all cni0; do echo 0 > /proc/sys/net/ipv4/conf/$link/rp_filter; done
      socat -u UDP4-RECV:9999 OPEN:/run/got,creat,append >/dev/null 2>&1 </dev/null &
      until ss -Hlnu | grep -q ':9999 '; do sleep 0.02; done
    `);
    await pod.sh("ip link set lo up; echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet");
    const send = async (text: string, bind = ""): Promise<string> =>
      pod.sh(`echo ${text} | socat -u - UDP4-SENDTO:${IPV4.gateway}:9999${bind}`);
    const arrived = async (text: string): Promise<string> =>
      node.sh(`until grep -q ${text} /run/got; do sleep 0.02; done; cat /run/got`);
    await send("forged", ",bind=127.0.0.2");
    await send("honest");
    expect(await arrived("honest")).toBe("honest\n");
    // This is what would arrive otherwise.
    await unguard(node, backend);
    await send("forged", ",bind=127.0.0.2");
    expect(await arrived("forged")).toBe("honest\nforged\n");
  });

  testSome(BACKENDS)("goes with the last host port of its link ($backend)", async (backend) => {
    await using node = await createNode(backend);
    await addMappedPod(node, backend, "none", { ...options, mappings: [] });
    const before = await sortedFirewall(node);
    const elsewhere = { ...options, families: [OTHER], network: "other", bridge: "cni1" };
    const first = await addMappedPod(node, backend, "first", { ...options, mappings: web(8080) });
    const second = await addMappedPod(node, backend, "second", { ...options, mappings: web(8081) });
    const third = await addMappedPod(node, backend, "third", { ...elsewhere, mappings: web(8082) });
    expect([await routeLocalnet(node), await routeLocalnet(node, "cni1")]).toEqual(["1", "1"]);
    await cniOk(node, { ...first.portmap, command: "DEL" });
    expect(await routeLocalnet(node)).toBe("1");
    await cniOk(node, { ...second.portmap, command: "DEL" });
    expect([await routeLocalnet(node), await routeLocalnet(node, "cni1")]).toEqual(["0", "1"]);
    await cniOk(node, { ...third.portmap, command: "DEL" });
    expect(await routeLocalnet(node, "cni1")).toBe("0");
    const left = JSON.stringify(await sortedFirewall(node));
    expect(left).not.toMatch(OF_LINK);
    expect(JSON.stringify(before)).not.toMatch(OF_LINK);
    expect(await node.list(`${RECORDS}/localnet`)).toEqual([]);
  });

  testSome(BACKENDS)(
    "is closed by the next call after a killed DEL ($backend)",
    async (backend) => {
      await using node = await createNode(backend);
      const first = await addMappedPod(node, backend, "first", { ...options, mappings: web(8080) });
      expect(JSON.stringify(await sortedFirewall(node))).toMatch(OF_LINK);
      // The DEL has removed the record, and nothing else.
      await node.sh(`cd ${RECORDS} && rm -f containers/* ports/* ids/* links/*`);
      await cniOk(node, { ...first.portmap, command: "DEL" });
      expect(await routeLocalnet(node)).toBe("0");
      expect(JSON.stringify(await sortedFirewall(node))).not.toMatch(OF_LINK);
      expect(await node.list(`${RECORDS}/localnet`)).toEqual([]);
    },
  );

  testSome(BACKENDS)("is missed by CHECK and repaired ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { portmap } = await addMappedPod(node, backend, "first", {
      ...options,
      mappings: web(8080),
    });
    await cniOk(node, { ...portmap, command: "CHECK" });
    await unguard(node, backend);
    const answer = await cni(node, { ...portmap, command: "CHECK" });
    expect(answer.stdout).toMatch(/"code": *105/);
    expect(answer.stdout).toMatch(/127\.0\.0\.0|CNI-LN-/);
    // Without the sysctl nothing would come in.
    await node.sh("echo 0 > /proc/sys/net/ipv4/conf/cni0/route_localnet");
    await cniOk(node, { ...portmap, command: "CHECK" });
    await cniOk(node, { ...portmap, command: "ADD" });
    expect(await routeLocalnet(node)).toBe("1");
    await cniOk(node, { ...portmap, command: "CHECK" });
  });

  test("stays on for the reference plugin's host ports", async () => {
    await using node = await createNode(IPTABLES_NFT);
    const first = await addMappedPod(node, IPTABLES_NFT, "first", {
      ...options,
      cniVersion: "1.0.0",
      mappings: web(8080),
    });
    const referencePod = await addMappedPod(node, IPTABLES_NFT, "theirs", {
      ...options,
      cniVersion: "1.0.0",
      mappings: web(8081),
      bin: referenceDir(),
    });
    await serve(referencePod.pod, "theirs");
    await cniOk(node, { ...first.portmap, command: "DEL" });
    expect(await routeLocalnet(node)).toBe("1");
    expect(await ask(node, "tcp", "127.0.0.1", 8081)).toMatchObject({ server: "theirs" });
    expect(JSON.stringify(await sortedFirewall(node))).toMatch(OF_LINK);
    await cniOk(node, { ...referencePod.portmap, bin: binDir(), command: "DEL" });
    expect(await routeLocalnet(node)).toBe("0");
    expect(JSON.stringify(await sortedFirewall(node))).not.toMatch(OF_LINK);
  });

  test("stays on where it was on, and what comes in is dropped", async () => {
    await using node = await createNode(NFTABLES);
    await serve(node, "service", { tcp: SERVICE });
    const { pod } = await addMappedPod(node, NFTABLES, "hostile", { ...options, mappings: [] });
    await node.sh("echo 1 > /proc/sys/net/ipv4/conf/cni0/route_localnet");
    await turnLoopbackOut(pod);
    expect(await reaches(pod)).toBe(true);
    const first = await addMappedPod(node, NFTABLES, "first", { ...options, mappings: web(8080) });
    expect(await reaches(pod)).toBe(false);
    await cniOk(node, { ...first.portmap, command: "DEL" });
    expect(await routeLocalnet(node)).toBe("1");
    expect(await reaches(pod)).toBe(false);
  });

  test("is left off where the tools cannot drop, and the pod starts", async () => {
    await using node = await createNode(IPTABLES_NFT);
    // A kernel without the table in which packets are dropped.
    await node.sh(`
      mkdir -p /opt/cni/fakes
      for tool in iptables-restore iptables-save; do
        real=$(command -v $tool)
        printf '#!/bin/sh\\nt=$(cat)\\ncase "$* $t" in *mangle*) echo broken >&2; exit 1;; esac\\nprintf "%%s\\\\n" "$t" | %s "$@"\\n' "$real" >/opt/cni/fakes/$tool
        chmod 755 /opt/cni/fakes/$tool
      done
    `);
    const env = { PATH: "/opt/cni/fakes:/usr/sbin:/usr/bin:/sbin:/bin" };
    const backend = { ...IPTABLES_NFT, env };
    const { result } = await addMappedPod(node, backend, "first", { ...options, mappings: [] });
    const conf = {
      cniVersion: "1.1.0",
      name: "cbr0",
      backend: "iptables",
      prevResult: result,
      runtimeConfig: { portMappings: web(8080) },
    };
    const call = { bin: binDir(), plugin: "portmap", conf, extraEnv: env };
    const attachment = { containerId: "first", netns: "/run/netns/first" };
    const answer = await cni(node, { ...call, ...attachment, command: "ADD" });
    expect(answer.code, answer.stdout).toBe(0);
    expect(answer.stderr).toMatch(/may not be reached by 127\.0\.0\.1/);
    expect(await routeLocalnet(node)).toBe("0");
  });
});

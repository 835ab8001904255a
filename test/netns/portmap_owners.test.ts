/** Who has a host port: other pods, and processes of the host. */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import { cni, cniOk, type Sandbox } from "../helpers/cni.ts";
import {
  addMappedPod,
  addPortmap,
  BACKENDS,
  createNode,
  firewallOf,
  IPTABLES_LEGACY,
  IPTABLES_NFT,
  NFTABLES,
  portmapCall,
  resultFor,
  WEB_AND_DNS,
  type PortMapping,
} from "../helpers/portmap.ts";
import { ask, serve } from "../lab/traffic.ts";

const web = { hostPort: 8080, containerPort: 80 };

/** All rules, as every tool lists them. */
async function rulesOf(node: Sandbox): Promise<string> {
  const tables = await node.sh("nft list table ip cni_hostport 2>/dev/null || true");
  return JSON.stringify(firewallOf(await node.snapshot())) + tables;
}

describe.concurrent("the host port of a pod that has died", () => {
  testSome(BACKENDS)("is the next one's, and stays so ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const outside = await node.addExternalHost("outside");
    const dead = await addMappedPod(node, backend, "dead");
    await node.removePod("dead");
    const next = await addMappedPod(node, backend, "next", { mappings: [] });
    const call = portmapCall(backend, "next", next.result);
    const answer = await cni(node, { ...call, command: "ADD" });
    expect(answer.code, answer.stdout).toBe(0);
    expect(answer.stderr).toContain("8080/tcp is mapped to container dead");
    await serve(next.pod, "next");
    for (const address of ["192.0.2.1", "2001:db8::1"]) {
      expect(await ask(outside, "tcp", address, 8080)).toMatchObject({ server: "next" });
      expect(await ask(outside, "udp", address, 8053)).toMatchObject({ server: "next" });
    }
    const before = await node.snapshot();
    const late = await cni(node, { ...dead.portmap, command: "DEL" });
    expect(late).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect(await node.snapshot()).toEqual(before);
  });

  // A node has one iptables, because iptables-legacy and iptables-nft do not see each other's rules.
  const changes = [IPTABLES_NFT, IPTABLES_LEGACY].flatMap((iptables) => {
    const nftables = { ...NFTABLES, env: iptables.env };
    return [
      { iptables, from: iptables, to: nftables },
      { iptables, from: nftables, to: iptables },
    ];
  });
  testSome(changes)("goes from $from.backend to $to.backend", async ({ iptables, from, to }) => {
    await using node = await createNode(iptables);
    await addPortmap(node, from, "dead");
    await node.addPod("next");
    const call = portmapCall(to, "next", resultFor("next", undefined, 1));
    await cniOk(node, { ...call, command: "ADD" });
    const rules = await rulesOf(node);
    expect(rules).not.toContain("10.244.1.2");
    expect(rules).not.toContain("dead");
    await cniOk(node, { ...call, command: "CHECK" });
    await cniOk(node, { ...call, command: "DEL" });
    expect(await rulesOf(node)).not.toContain("10.244.1.3");
  });
});

describe.concurrent("the host port of a pod that lives", () => {
  const pairs: readonly {
    readonly first: PortMapping;
    readonly second: PortMapping;
    readonly clash: boolean;
  }[] = [
    { first: { hostIP: "2001:db8::1" }, second: {}, clash: true },
    { first: { hostIP: "192.0.2.1" }, second: { hostIP: "192.0.2.1" }, clash: true },
    { first: { hostIP: "2001:db8::1" }, second: { hostIP: "2001:DB8:0:0::1" }, clash: true },
    { first: { hostIP: "::" }, second: { hostIP: "192.0.2.1" }, clash: false },
    { first: { hostIP: "::" }, second: {}, clash: true },
    { first: { protocol: "udp" }, second: { protocol: "UDP" }, clash: true },
    { first: { protocol: "sctp" }, second: { protocol: "tcp" }, clash: false },
    { first: { containerPort: 80 }, second: { containerPort: 81 }, clash: true },
  ];
  test.for([IPTABLES_NFT, NFTABLES])("is no other network's either ($backend)", async (backend) => {
    await using node = await createNode(backend);
    await node.addPod("pod1");
    await node.addPod("pod2");
    for (const { first, second, clash } of pairs) {
      const what = `${JSON.stringify(first)}, then ${JSON.stringify(second)}`;
      const owner = await addPortmap(node, backend, "pod1", { mappings: [{ ...web, ...first }] });
      const call = portmapCall(backend, "pod2", resultFor("pod2", undefined, 1), {
        mappings: [{ ...web, ...second }],
        network: "second",
      });
      const answer = await cni(node, { ...call, command: "ADD" });
      expect(answer.json?.code, `${what}: ${answer.stdout}`).toBe(clash ? 102 : undefined);
      await cniOk(node, { ...call, command: "DEL" });
      await cniOk(node, { ...owner, command: "DEL" });
    }
  });

  testSome(BACKENDS)("can be mapped anew by that pod ($backend)", async (backend) => {
    await using node = await createNode(backend);
    await node.addPod("pod1");
    await addPortmap(node, backend, "pod1");
    const mappings = [{ hostPort: 8080, containerPort: 81 }];
    const again = await addPortmap(node, backend, "pod1", { mappings }, 5);
    await cniOk(node, { ...again, command: "CHECK" });
    const rules = await rulesOf(node);
    expect(rules).toContain("10.244.1.7:81");
    expect(rules).not.toContain("10.244.1.2");
    expect(rules).not.toContain("8053");
    // Another pod can have what it no longer maps.
    await node.addPod("pod2");
    const dns = [{ hostPort: 8053, containerPort: 53, protocol: "udp" }];
    await addPortmap(node, backend, "pod2", { mappings: dns }, 1);
    await cniOk(node, { ...again, command: "DEL" });
    expect(await rulesOf(node)).not.toContain("10.244.1.7");
  });
});

describe.concurrent("a host port that a process of the host has", () => {
  const listeners = [
    { listen: "TCP4-LISTEN:8080", warned: [4], mappings: [web] },
    { listen: "TCP6-LISTEN:8080,ipv6only=1", warned: [6], mappings: [web] },
    { listen: "TCP6-LISTEN:8080,ipv6only=0", warned: [4, 6], mappings: [web] },
    { listen: "TCP4-LISTEN:8080,bind=127.0.0.1", warned: [4], mappings: [web] },
    {
      listen: "TCP4-LISTEN:8080,bind=127.0.0.1",
      warned: [],
      mappings: [{ ...web, hostIP: "192.0.2.1" }],
    },
    { listen: "TCP6-LISTEN:8080,bind=[::ffff:127.0.0.1]", warned: [4], mappings: [web] },
    { listen: "TCP6-LISTEN:8080,bind=[::1]", warned: [6], mappings: [web] },
    {
      listen: "TCP6-LISTEN:8080,ipv6only=0",
      warned: [4, 6],
      mappings: [
        { ...web, hostIP: "::" },
        { ...web, hostIP: "0.0.0.0" },
        { ...web, hostIP: "192.0.2.1" },
      ],
    },
    { listen: "UDP4-RECV:8080", warned: [], mappings: [web] },
    { listen: "UDP4-RECV:8053", warned: [4], mappings: WEB_AND_DNS },
    { listen: "UDP6-RECV:8053,ipv6only=1", warned: [6], mappings: WEB_AND_DNS },
  ];
  testSome(listeners)("is said for what it listens on alone: $listen, $mappings.0", async (row) => {
    await using node = await createNode(IPTABLES_NFT);
    await node.addExternalHost("outside");
    await node.sh(`
      socat -u ${row.listen} /dev/null >/dev/null 2>&1 </dev/null &
      until ss -Hlntu | grep -qE ':80(80|53) '; do sleep 0.02; done
    `);
    const call = portmapCall(IPTABLES_NFT, "pod1", resultFor("pod1"), { mappings: row.mappings });
    const answer = await cni(node, { ...call, command: "ADD" });
    expect(answer.code, answer.stdout).toBe(0);
    const warnings = [
      ...answer.stderr.matchAll(/ used by socat\S* \(pid \d+\) .* IPv(\d) traffic/g),
    ];
    const families = new Set(warnings.map(([, family]) => Number(family)));
    expect(families, answer.stderr).toEqual(new Set(row.warned));
  });

  test("is looked for without a socket of its protocol", async () => {
    await using node = await createNode(IPTABLES_NFT);
    const mappings = ["tcp", "udp", "sctp"].map((protocol) => ({ ...web, protocol }));
    const call = portmapCall(IPTABLES_NFT, "pod1", resultFor("pod1"), { mappings });
    await node.writeFile("/run/conf.json", JSON.stringify(call.conf));
    await node.sh(`
      export CNI_COMMAND=ADD CNI_CONTAINERID=pod1 CNI_IFNAME=eth0 CNI_PATH=${call.bin}
      CNI_NETNS=/run/netns/pod1 strace -f -e trace=socket,bind -o /run/trace ${call.bin}/portmap </run/conf.json
    `);
    const trace = await node.sh("cat /run/trace");
    expect(trace).toContain("AF_NETLINK");
    // The tools of iptables open one of their own, of no protocol that a pod asked for.
    expect(trace).not.toMatch(
      /AF_INET6?, SOCK_(?:STREAM|DGRAM|SEQPACKET)\S*, IPPROTO_(?:TCP|UDP|SCTP)|bind\(.*AF_INET/,
    );
  });

  test("is free where that is only what it has connected from", async () => {
    await using node = await createNode(IPTABLES_NFT);
    const outside = await node.addExternalHost("outside");
    await outside.sh(`
      (sleep 20 | socat - TCP4-LISTEN:81) >/dev/null 2>&1 </dev/null &
      until ss -Hlnt | grep -q ':81 '; do sleep 0.02; done
    `);
    await node.sh(`
      (sleep 20 | socat - TCP4:192.0.2.2:81,sourceport=8080) >/dev/null 2>&1 </dev/null &
      until ss -Hnt state established | grep -q ':8080 '; do sleep 0.02; done
    `);
    const call = portmapCall(IPTABLES_NFT, "pod1", resultFor("pod1"), {
      conf: { hostPortConflict: "refuse" },
    });
    const answer = await cni(node, { ...call, command: "ADD" });
    expect(answer, answer.stdout).toMatchObject({ code: 0, stderr: "" });
  });
});

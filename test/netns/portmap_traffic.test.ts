/** Host ports by packets: who reaches the pod, by which address, and who does not. */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import { binDir, cni, cniOk, runConflist, type Namespace, type Sandbox } from "../helpers/cni.ts";
import { DUAL_STACK, flannelConf, IPV4, IPV6, writeSubnetEnv } from "../helpers/network.ts";
import {
  addMappedPod,
  BACKENDS,
  containerRules,
  createNode,
  IPTABLES_LEGACY,
  IPTABLES_NFT,
  NFTABLES,
  WEB_AND_DNS,
} from "../helpers/portmap.ts";
import { initChunk } from "../helpers/sctp.ts";
import { eventually } from "../lab/eventually.ts";
import type { Protocol } from "../lab/peer.ts";
import { ask, serve } from "../lab/traffic.ts";

/** The node's addresses on the links to two hosts outside. */
const NODE4 = "192.0.2.1";
const NODE6 = "2001:db8::1";
const SECOND4 = "192.0.2.5";
const SECOND6 = "2001:db8:0:1::1";
const PORTS: Readonly<Record<Protocol, number>> = { tcp: 8080, udp: 8053 };
const PROTOCOLS = ["tcp", "udp"] as const;

/** A client, and the expected answer: a server's name and the client's address as it sees it, or "nobody". */
type Direction = readonly [from: Namespace, to: string, answer: string];

/** Asks by TCP and UDP at once, by default on the ports of WEB_AND_DNS. */
async function expectAnswers(
  directions: readonly Direction[],
  ports: Readonly<Record<Protocol, number>> = PORTS,
): Promise<void> {
  const asked = directions.flatMap(([from, to, expected]) =>
    PROTOCOLS.map(async (protocol) => {
      // For dropped packets, this takes the whole timeout.
      const seconds = expected === "nobody" ? 1 : 3;
      const answer = await ask(from, protocol, to, ports[protocol], seconds);
      const outcome = answer === undefined ? "nobody" : `${answer.server} sees ${answer.client}`;
      return [`${from.name} to ${to} by ${protocol}`, outcome] as const;
    }),
  );
  const expected = directions.flatMap(([from, to, answer]) =>
    PROTOCOLS.map((protocol) => [`${from.name} to ${to} by ${protocol}`, answer]),
  );
  expect(await Promise.all(asked)).toEqual(expected);
}

function nobody(directions: readonly Direction[]): readonly Direction[] {
  return directions.map(([from, to]) => [from, to, "nobody"]);
}

/** Two hosts outside, each on a link of its own, that reach each other through the node. */
async function addTwoHosts(node: Sandbox) {
  const outside = await node.addExternalHost("outside");
  const second = await node.addExternalHost("second", { link: "eth1", subnet: 1 });
  await node.sh(`
    ip -n outside route add default via ${NODE4}
    ip -n outside -6 route add default via ${NODE6}
    ip -n second route add default via ${SECOND4}
    ip -n second -6 route add default via ${SECOND6}
  `);
  return { outside, second };
}

describe.concurrent("host ports", () => {
  testSome(
    BACKENDS,
    4,
    2,
  )("answer from everywhere, until DEL ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const outside = await node.addExternalHost("outside");
    const { pod, portmap } = await addMappedPod(node, backend, "pod1");
    const client = await addMappedPod(node, backend, "pod2", { mappings: [] });
    await serve(pod, "pod1");
    const directions: readonly Direction[] = [
      [outside, NODE4, "pod1 sees 192.0.2.2"],
      [outside, NODE6, "pod1 sees 2001:db8::2"],
      [node, NODE4, `pod1 sees ${NODE4}`],
      [node, NODE6, `pod1 sees ${NODE6}`],
      [node, "127.0.0.1", `pod1 sees ${IPV4.gateway}`],
      [node, IPV4.gateway, `pod1 sees ${IPV4.gateway}`],
      [node, IPV6.gateway, `pod1 sees ${IPV6.gateway}`],
      // For the pod and its neighbours the client is the node; otherwise they would answer directly.
      [pod, NODE4, `pod1 sees ${IPV4.gateway}`],
      [pod, NODE6, `pod1 sees ${IPV6.gateway}`],
      [pod, IPV4.gateway, `pod1 sees ${IPV4.gateway}`],
      [pod, IPV6.gateway, `pod1 sees ${IPV6.gateway}`],
      [client.pod, NODE4, `pod1 sees ${IPV4.gateway}`],
      [client.pod, NODE6, `pod1 sees ${IPV6.gateway}`],
      [client.pod, IPV4.gateway, `pod1 sees ${IPV4.gateway}`],
    ];
    await expectAnswers(directions);
    await cniOk(node, { ...portmap, command: "DEL" });
    await expectAnswers(nobody(directions));
    await expectAnswers([[node, IPV4.pod(0), `pod1 sees ${IPV4.gateway}`]], { tcp: 80, udp: 53 });
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("work in flannel's whole conflist ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const outside = await node.addExternalHost("outside");
    await writeSubnetEnv(node, DUAL_STACK);
    const pod = await node.addPod("pod1");
    const portmap = { type: "portmap", capabilities: { portMappings: true }, ...backend.conf };
    const call = {
      bin: binDir(),
      conflist: {
        name: "cbr0",
        cniVersion: "1.0.0",
        plugins: [{ ...flannelConf(), type: "flannel" }, portmap],
      },
      runtimeConfig: { portMappings: WEB_AND_DNS },
      extraEnv: backend.env,
    };
    const prevResult = await runConflist(node, { ...call, command: "ADD" });
    await serve(pod, "pod1");
    const directions: readonly Direction[] = [
      [outside, NODE4, "pod1 sees 192.0.2.2"],
      [outside, NODE6, "pod1 sees 2001:db8::2"],
      [node, "127.0.0.1", `pod1 sees ${IPV4.gateway}`],
      [pod, NODE4, `pod1 sees ${IPV4.gateway}`],
      [pod, NODE6, `pod1 sees ${IPV6.gateway}`],
    ];
    await expectAnswers(directions);
    await runConflist(node, { ...call, command: "CHECK", prevResult });
    await runConflist(node, { ...call, command: "DEL", prevResult });
    await expectAnswers(nobody(directions));
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("M4: get UDP flows at once, and give them back ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const outside = await node.addExternalHost("outside");
    // The kernel tracks flows only if there are rules that need it.
    await addMappedPod(node, backend, "pod0", { mappings: [{ hostPort: 1, containerPort: 1 }] });
    const { pod, portmap } = await addMappedPod(node, backend, "pod1", { mappings: [] });
    await serve(pod, "pod1");
    await serve(node, "node", { tcp: 8080, udp: 8053 });
    // One socket each, which sends all the time.
    const flows = [NODE4, NODE6].map((to, at) => ({ to, log: `/run/flow${at}` }));
    for (const { to, log } of flows) {
      await outside.sh(`
        bash -c '
          exec 3<>"/dev/udp/${to}/8053"
          while echo hello >&3; do timeout 0.2 head -n 1 <&3 || echo nobody; sleep 0.02; done
        ' >${log} 2>&1 </dev/null &
      `);
    }
    const answering = async (): Promise<readonly string[]> =>
      Promise.all(
        flows.map(async ({ log }) => (await node.sh(`tail -n 1 ${log}`)).split(" ")[0] ?? ""),
      );
    const expectAll = async (name: string): Promise<void> => {
      const seen = await eventually(answering, (names) => names.every((answer) => answer === name));
      expect(seen).toEqual([name, name]);
    };
    await expectAll("node");
    const mapped = {
      ...portmap,
      conf: { ...portmap.conf, runtimeConfig: { portMappings: WEB_AND_DNS } },
    };
    await cniOk(node, { ...mapped, command: "ADD" });
    await expectAll("pod1");
    // Without its mappings, too, a DEL knows which flows to delete.
    await cniOk(node, { ...portmap, command: "DEL" });
    await expectAll("node");
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("M5: leave what passes through the node alone ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { outside, second } = await addTwoHosts(node);
    const passing = await addMappedPod(node, backend, "pod1", {
      mappings: [{ hostPort: 1, containerPort: 1 }],
    });
    await serve(second, "second", { tcp: 8080, udp: 8053 });
    const directions: readonly Direction[] = [
      [outside, second.addresses4.host, "second sees 192.0.2.2"],
      [outside, second.addresses6.host, "second sees 2001:db8::2"],
    ];
    await expectAnswers(directions);
    const flows = async (): Promise<number> => {
      const lists = await node.sh(
        "conntrack -L -p udp --dport 8053 -f ipv4; conntrack -L -p udp --dport 8053 -f ipv6",
      );
      return lists.split("\n").filter((line) => line.includes("dport=8053")).length;
    };
    expect(await flows()).toBe(2);
    const { pod } = await addMappedPod(node, backend, "pod2");
    await serve(pod, "pod2");
    expect(await flows(), "flows through the node that are still known").toBe(2);
    await expectAnswers([
      ...directions,
      [passing.pod, second.addresses4.host, `second sees ${IPV4.pod(0)}`],
      [pod, second.addresses6.host, `second sees ${IPV6.pod(1)}`],
      [outside, NODE4, "pod2 sees 192.0.2.2"],
      [outside, SECOND4, "pod2 sees 192.0.2.2"],
    ]);
  });
});

describe.concurrent("hostIP", () => {
  testSome(
    BACKENDS,
    4,
    2,
  )("lets only that address answer ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { outside } = await addTwoHosts(node);
    const mappings = [NODE4, NODE6].flatMap((hostIP) =>
      WEB_AND_DNS.map((mapping) => ({ ...mapping, hostIP })),
    );
    const { pod, portmap } = await addMappedPod(node, backend, "pod1", { mappings });
    await serve(pod, "pod1");
    const own: readonly Direction[] = [
      [outside, NODE4, "pod1 sees 192.0.2.2"],
      [outside, NODE6, "pod1 sees 2001:db8::2"],
      [node, NODE4, `pod1 sees ${NODE4}`],
      [pod, NODE4, `pod1 sees ${IPV4.gateway}`],
    ];
    await expectAnswers([
      ...own,
      [outside, SECOND4, "nobody"],
      [outside, SECOND6, "nobody"],
      [node, "127.0.0.1", "nobody"],
    ]);
    // Another pod may have the same port of another address.
    const elsewhere = [SECOND4, SECOND6].flatMap((hostIP) =>
      WEB_AND_DNS.map((mapping) => ({ ...mapping, hostIP })),
    );
    const secondPod = await addMappedPod(node, backend, "pod2", { mappings: elsewhere });
    await serve(secondPod.pod, "pod2");
    const unaffected: readonly Direction[] = [
      [outside, SECOND4, "pod2 sees 192.0.2.2"],
      [outside, SECOND6, "pod2 sees 2001:db8::2"],
    ];
    await expectAnswers([...own, ...unaffected]);
    await cniOk(node, { ...portmap, command: "DEL" });
    await expectAnswers([...nobody(own), ...unaffected]);
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("0.0.0.0 and :: are all addresses of a family ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { outside } = await addTwoHosts(node);
    const four = await addMappedPod(node, backend, "four", {
      mappings: WEB_AND_DNS.map((mapping) => ({ ...mapping, hostIP: "0.0.0.0" })),
    });
    await serve(four.pod, "four");
    await expectAnswers([
      [outside, NODE4, "four sees 192.0.2.2"],
      [outside, SECOND4, "four sees 192.0.2.2"],
      [outside, NODE6, "nobody"],
    ]);
    const six = await addMappedPod(node, backend, "six", {
      mappings: WEB_AND_DNS.map((mapping) => ({ ...mapping, hostIP: "::" })),
    });
    await serve(six.pod, "six");
    await expectAnswers([
      [outside, NODE4, "four sees 192.0.2.2"],
      [outside, NODE6, "six sees 2001:db8::2"],
      [outside, SECOND6, "six sees 2001:db8::2"],
      [node, "127.0.0.1", `four sees ${IPV4.gateway}`],
    ]);
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("D4: one address goes before all of them ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { outside } = await addTwoHosts(node);
    const web = { hostPort: 8080, containerPort: 80, protocol: "tcp" };
    const mappings = [
      web,
      web,
      { ...web, hostIP: "0.0.0.0" },
      { ...web, hostIP: "::" },
      ...[SECOND4, SECOND6].map((hostIP) => ({ ...web, hostIP, containerPort: 81 })),
      ...[NODE4, NODE6].map((hostIP) => ({ ...web, hostIP })),
    ];
    const { pod, portmap } = await addMappedPod(node, backend, "pod1", { mappings });
    await serve(pod, "at80");
    await serve(pod, "at81", { tcp: 81, udp: 54 });
    const answers = async () => {
      const to = [NODE4, SECOND4, NODE6, SECOND6];
      const found = await Promise.all(
        to.map(async (address) => ask(outside, "tcp", address, 8080)),
      );
      return found.map((answer) => answer?.server);
    };
    expect(await answers()).toEqual(["at80", "at81", "at80", "at81"]);
    await cniOk(node, { ...portmap, command: "CHECK" });
    await cniOk(node, { ...portmap, command: "ADD" });
    expect(await answers()).toEqual(["at80", "at81", "at80", "at81"]);
    await cniOk(node, { ...portmap, command: "DEL" });
    expect(await containerRules(node, backend)).toEqual([]);
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("S2: another host's address takes none of its traffic ($backend)", async (row) => {
    await using node = await createNode(row);
    const { outside, second } = await addTwoHosts(node);
    await serve(second, "second", { tcp: 8080, udp: 8053 });
    const foreign = [second.addresses4.host, second.addresses6.host, "198.51.100.7"];
    const thief = await addMappedPod(node, row, "thief", {
      mappings: foreign.flatMap((hostIP) => WEB_AND_DNS.map((mapping) => ({ ...mapping, hostIP }))),
    });
    const { pod } = await addMappedPod(node, row, "pod1", { mappings: [] });
    await serve(thief.pod, "thief");
    await expectAnswers([
      [outside, second.addresses4.host, "second sees 192.0.2.2"],
      [outside, second.addresses6.host, "second sees 2001:db8::2"],
      [node, second.addresses4.host, `second sees ${second.addresses4.node}`],
      [node, second.addresses6.host, `second sees ${second.addresses6.node}`],
      [pod, second.addresses4.host, `second sees ${IPV4.pod(1)}`],
      [pod, second.addresses6.host, `second sees ${IPV6.pod(1)}`],
      [thief.pod, second.addresses4.host, `second sees ${IPV4.pod(0)}`],
    ]);
    // An address becomes the node's while it is mapped: a virtual one, that moves between nodes.
    await node.sh("ip address add 198.51.100.7/32 dev lo");
    await expectAnswers([[pod, "198.51.100.7", `thief sees ${IPV4.gateway}`]]);
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("127.0.0.1 is for the node alone ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const outside = await node.addExternalHost("outside");
    const mappings = WEB_AND_DNS.map((mapping) => ({ ...mapping, hostIP: "127.0.0.1" }));
    const { pod } = await addMappedPod(node, backend, "pod1", { mappings });
    await serve(pod, "pod1");
    await expectAnswers([
      [node, "127.0.0.1", `pod1 sees ${IPV4.gateway}`],
      [node, NODE4, "nobody"],
      [outside, NODE4, "nobody"],
    ]);
  });
});

describe.concurrent("options", () => {
  testSome(
    BACKENDS,
    4,
    2,
  )("snat false masquerades nothing ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const outside = await node.addExternalHost("outside");
    const { pod } = await addMappedPod(node, backend, "pod1", { conf: { snat: false } });
    await serve(pod, "pod1");
    await expectAnswers([
      [outside, NODE4, "pod1 sees 192.0.2.2"],
      [outside, NODE6, "pod1 sees 2001:db8::2"],
      [node, NODE4, `pod1 sees ${NODE4}`],
      [node, "127.0.0.1", "nobody"],
      [pod, NODE4, "nobody"],
      [pod, NODE6, "nobody"],
    ]);
    expect(await node.sysctl("net/ipv4/conf/cni0/route_localnet")).toBe("0");
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("masqAll hides every client ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const outside = await node.addExternalHost("outside");
    const { pod } = await addMappedPod(node, backend, "pod1", { conf: { masqAll: true } });
    await serve(pod, "pod1");
    await expectAnswers([
      [outside, NODE4, `pod1 sees ${IPV4.gateway}`],
      [outside, NODE6, `pod1 sees ${IPV6.gateway}`],
      [node, NODE4, `pod1 sees ${IPV4.gateway}`],
      [node, "127.0.0.1", `pod1 sees ${IPV4.gateway}`],
      [pod, NODE4, `pod1 sees ${IPV4.gateway}`],
    ]);
  });

  const iptables = [IPTABLES_NFT, IPTABLES_LEGACY];
  test.for(iptables)("another bit marks as well ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { pod } = await addMappedPod(node, backend, "pod1", { conf: { markMasqBit: 31 } });
    await serve(pod, "pod1");
    await expectAnswers([
      [node, "127.0.0.1", `pod1 sees ${IPV4.gateway}`],
      [pod, IPV4.gateway, `pod1 sees ${IPV4.gateway}`],
      [pod, IPV6.gateway, `pod1 sees ${IPV6.gateway}`],
    ]);
  });

  test.for(iptables)("externalSetMarkChain marks instead ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { env } = backend;
    for (const program of ["iptables", "ip6tables"]) {
      await node.sh(
        `
        ${program} -t nat -N KUBE-MARK-MASQ
        ${program} -t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
        ${program} -t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
      `,
        { env },
      );
    }
    const conf = { externalSetMarkChain: "KUBE-MARK-MASQ" };
    const { pod, portmap } = await addMappedPod(node, backend, "pod1", { conf });
    await serve(pod, "pod1");
    const directions: readonly Direction[] = [
      [node, "127.0.0.1", `pod1 sees ${IPV4.gateway}`],
      [pod, IPV4.gateway, `pod1 sees ${IPV4.gateway}`],
      [pod, IPV6.gateway, `pod1 sees ${IPV6.gateway}`],
    ];
    await expectAnswers(directions);
    const rules = await node.output("iptables-save", ["-t", "nat"], { env });
    expect(rules).not.toMatch(/CNI-HOSTPORT-(SETMARK|MASQ)/);
    await cniOk(node, { ...portmap, command: "DEL" });
    await expectAnswers(nobody(directions));
    expect(await node.output("iptables-save", ["-t", "nat"], { env })).toContain("KUBE-MARK-MASQ");
  });

  const conditions = [
    ...iptables.map((backend) => ({
      ...backend,
      conditions: {
        conditionsV4: ["!", "-s", "192.0.2.2/32"],
        conditionsV6: ["!", "-s", "2001:db8::2"],
      },
    })),
    {
      ...NFTABLES,
      conditions: {
        conditionsV4: ["ip saddr", "!=", "192.0.2.2"],
        conditionsV6: ["ip6 saddr != { 2001:db8::2, 2001:db8::3 }"],
      },
    },
  ];
  testSome(conditions)("conditions keep some out ($backend)", async (row) => {
    await using node = await createNode(row);
    const { outside, second } = await addTwoHosts(node);
    const { pod, portmap } = await addMappedPod(node, row, "pod1", { conf: row.conditions });
    await serve(pod, "pod1");
    // One network's conditions do not apply to another.
    const otherNetwork = await addMappedPod(node, row, "pod2", {
      network: "other",
      bridge: "cni1",
      families: [
        { ...IPV4, subnet: "10.245.1.0/24" },
        { ...IPV6, subnet: "fd00:10:245:1::/64" },
      ],
      mappings: [
        { hostPort: 9080, containerPort: 80 },
        { hostPort: 9053, containerPort: 53, protocol: "udp" },
      ],
    });
    await serve(otherNetwork.pod, "pod2");
    const directions: readonly Direction[] = [
      [outside, NODE4, "nobody"],
      [outside, NODE6, "nobody"],
      [second, NODE4, "pod1 sees 192.0.2.6"],
      [second, NODE6, "pod1 sees 2001:db8:0:1::2"],
      [node, "127.0.0.1", `pod1 sees ${IPV4.gateway}`],
    ];
    await expectAnswers(directions);
    await expectAnswers(
      [
        [outside, NODE4, "pod2 sees 192.0.2.2"],
        [second, NODE6, "pod2 sees 2001:db8:0:1::2"],
      ],
      { tcp: 9080, udp: 9053 },
    );
    expect(await cni(node, { ...portmap, command: "CHECK" })).toMatchObject({ code: 0 });
    await cniOk(node, { ...portmap, command: "DEL" });
    await expectAnswers(nobody(directions));
  });
});

describe.concurrent("sctp", () => {
  // Few kernels have SCTP sockets, but all can forward SCTP. So the packets are made by hand.
  testSome(
    BACKENDS,
    4,
    2,
  )("INITs reach the pod's port, until DEL ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const outside = await node.addExternalHost("outside");
    const mappings = [{ hostPort: 5000, containerPort: 90, protocol: "SCTP" }];
    const { pod, portmap } = await addMappedPod(node, backend, "pod1", { mappings });
    const log = "/run/sctp.log";
    await pod.sh(`
      tcpdump -n -t -l -i eth0 sctp >${log} 2>&1 </dev/null &
      until grep -q listening ${log}; do sleep 0.02; done
    `);
    const send = async (sourcePort: number): Promise<void> => {
      for (const to of [`IP4-SENDTO:${NODE4}:132`, `IP6-SENDTO:[${NODE6}]:132`]) {
        const input = initChunk(sourcePort, 5000);
        await outside.output("socat", ["-t0", "-", to], { input });
      }
    };
    const seen = async (): Promise<string> => node.sh(`cat ${log}`);
    await send(4001);
    const arrived = await eventually(seen, (text) => text.split("[INIT]").length > 2);
    expect(arrived).toContain(`192.0.2.2.4001 > ${IPV4.pod(0)}.90: sctp (1) [INIT]`);
    expect(arrived).toContain(`2001:db8::2.4001 > ${IPV6.pod(0)}.90: sctp (1) [INIT]`);
    await cniOk(node, { ...portmap, command: "DEL" });
    await send(4002);
    // A later packet has arrived, so an earlier one would have, too.
    await pod.sh(`ping -c 1 -w 2 ${IPV4.gateway}`);
    expect(await seen()).not.toContain(".4002 > ");
  });
});

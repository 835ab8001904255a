/**
 * Rules that nothing is recorded of, and pods that are hard to see: whose host port is it? What cannot
 * be told is alive, and what is dead is removed by whoever meets it.
 */
import { describe, expect, test, vi } from "vitest";
import { testSome } from "../helpers/form.ts";
import { binDir, cni, cniOk, referenceDir, runConflist, type Sandbox } from "../helpers/cni.ts";
import { bridgeConf, IPV4, IPV6 } from "../helpers/network.ts";
import {
  addMappedPod,
  BACKENDS,
  containerRules,
  createNode,
  IPTABLES_LEGACY,
  IPTABLES_NFT,
  natTable,
  NFTABLES,
  portmapCall,
  records,
  resultFor,
  toolsConditions,
  toolsOf,
  wrap,
  type Backend,
} from "../helpers/portmap.ts";
import { expectError } from "../helpers/state.ts";
import { ask, serve } from "../lab/traffic.ts";

const options = { cniVersion: "1.1.0" };
const web = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
const STORE = "/run/flannel-cni/portmap";

function gcOf(call: ReturnType<typeof portmapCall>, ...ids: readonly string[]) {
  const valid = ids.map((containerID) => ({ containerID, ifname: "eth0" }));
  const conf = { ...call.conf, "cni.dev/valid-attachments": valid };
  return { ...call, conf, command: "GC" } as const;
}

describe.concurrent("S4: rules that no record tells of", () => {
  testSome(BACKENDS)("are removed by the next ADD for their port ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const outside = await node.addExternalHost("outside");
    const mappings = [...web, { hostPort: 8053, containerPort: 53, protocol: "udp" }];
    await addMappedPod(node, backend, "dead", { ...options, mappings });
    await node.removePod("dead");
    for (const path of [STORE, "/var/lib/cni/networks"]) await node.remove(path);
    const next = await addMappedPod(node, backend, "next", { ...options, mappings });
    await serve(next.pod, "next");
    for (const address of ["192.0.2.1", "2001:db8::1"]) {
      expect(await ask(outside, "tcp", address, 8080)).toMatchObject({ server: "next" });
    }
    const rules = await containerRules(node, backend);
    expect(rules.join("\n")).not.toContain("dead");
    await cniOk(node, { ...next.portmap, command: "CHECK" });
    await cniOk(node, { ...next.portmap, command: "DEL" });
    expect(await containerRules(node, backend)).toEqual([]);
  });

  testSome(BACKENDS)("stay while their container is there ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const first = await addMappedPod(node, backend, "first", { ...options, mappings: web });
    await node.remove(STORE);
    const second = await addMappedPod(node, backend, "second", { ...options, mappings: [] });
    const call = portmapCall(backend, "second", second.result, { ...options, mappings: web });
    const before = await containerRules(node, backend);
    // With its reservation, and with its address alone.
    for (const gone of [undefined, "/var/lib/cni/networks/cbr0"]) {
      if (gone !== undefined) await node.remove(gone);
      const answer = await cni(node, { ...call, command: "ADD" });
      expectError(answer, 102);
      expect(answer.json?.msg).toMatch(/8080\/tcp is mapped to container first \(10\.244\.1\.2\)/);
      expect(await containerRules(node, backend)).toEqual(before);
    }
    await cniOk(node, { ...first.portmap, command: "CHECK" });
  });

  testSome(BACKENDS)("of either family are removed by GC ($backend)", async (backend) => {
    await using node = await createNode(backend);
    await addMappedPod(node, backend, "dead", { ...options, mappings: web });
    await addMappedPod(node, backend, "gone", {
      ...options,
      mappings: [{ ...web[0], hostPort: 9000 }],
      families: [IPV6],
      network: "six",
      bridge: "cni6",
    });
    const kept = await addMappedPod(node, backend, "kept", {
      ...options,
      mappings: [{ ...web[0], hostPort: 9001 }],
    });
    await node.remove(STORE);
    await cniOk(node, gcOf(kept.portmap, "kept"));
    const rules = (await containerRules(node, backend)).join("\n");
    expect(rules).not.toContain("8080");
    expect(rules, "what is another network's").toContain("9000");
    await cniOk(node, { ...kept.portmap, command: "CHECK" });
    const six = portmapCall(backend, "gone", undefined, { ...options, network: "six" });
    await cniOk(node, gcOf(six));
    expect((await containerRules(node, backend)).join("\n")).not.toContain("9000");
    await cniOk(node, { ...kept.portmap, command: "CHECK" });
  });

  const otherFirewalls = [
    { from: NFTABLES, to: IPTABLES_NFT },
    { from: IPTABLES_NFT, to: NFTABLES },
  ];
  test.for(otherFirewalls)(
    "are seen in the other firewall, too: $from.backend",
    async ({ from, to }) => {
      await using node = await createNode(from);
      await addMappedPod(node, from, "dead", { ...options, mappings: web });
      await node.removePod("dead");
      for (const path of [STORE, "/var/lib/cni/networks"]) await node.remove(path);
      await addMappedPod(node, to, "next", { ...options, mappings: web });
      expect(await containerRules(node, from)).toEqual([]);
      expect(await containerRules(node, to)).not.toEqual([]);
    },
  );
});

describe.concurrent("S4: a firewall tool that goes on after its plugin was killed", () => {
  // Other changes of nf_tables' rules need no tool.
  const verbs = [
    ...BACKENDS.map((backend) => ({ ...backend, command: "ADD" as const })),
    { ...IPTABLES_LEGACY, command: "DEL" as const },
  ];
  testSome(verbs)(
    "is waited for by DEL, which leaves nothing ($backend, $command)",
    async (row) => {
      const { command } = row;
      await using node = await createNode(row);
      const pod = await addMappedPod(node, row, "pod1", { ...options, mappings: web });
      if (command === "ADD") await cniOk(node, { ...pod.portmap, command: "DEL" });
      // The tool reads what it has to do, and does it a second later.
      const script = `
      text=$(cat); case $* in *list*) exec "$real" "$@" ;; esac
      echo . >>/run/begun; sleep 1; printf '%s\\n' "$text" | "$real" "$@"; echo . >>/run/ended
    `;
      const extraEnv = await wrap(node, row, toolsOf(row), script);
      const killer = [
        "sh",
        "-c",
        'exec 3<&0; "$@" <&3 & p=$!; until [ -e /run/begun ]; do sleep 0.01; done; kill -9 $p; wait $p',
        "sh",
      ];
      const conf = { ...pod.portmap.conf, ...toolsConditions(row) };
      await cni(node, { ...pod.portmap, conf, extraEnv, command, prefix: killer });
      expect(await node.exists("/run/ended"), "killed while its tool runs").toBe(false);
      await cniOk(node, { ...pod.portmap, command: "DEL" });
      expect(await node.exists("/run/ended"), "DEL has waited").toBe(true);
      await node.sh("until [ $(wc -l </run/begun) = $(wc -l </run/ended) ]; do sleep 0.01; done");
      expect(await containerRules(node, row)).toEqual([]);
      expect(await records(node)).toEqual([]);
    },
  );
});

describe.concurrent("S9: a pod that is hard to see keeps its host port", () => {
  const ways = {
    "its namespace's name is gone, a process is in it": `
      ip netns exec first sleep 60 >/dev/null 2>&1 </dev/null &
      until ip netns pids first | grep -q .; do sleep 0.01; done
      umount /run/netns/first; rm /run/netns/first`,
    "its namespace is mounted at another place": `
      touch /run/elsewhere; mount --bind /run/netns/first /run/elsewhere
      umount /run/netns/first; rm /run/netns/first`,
  };
  const cases = BACKENDS.flatMap((backend) =>
    Object.entries(ways).map(([way, script]) => ({ ...backend, way, script })),
  );
  testSome(cases)("$way ($backend)", async ({ script, ...backend }) => {
    await using node = await createNode(backend);
    await addMappedPod(node, backend, "first", { ...options, mappings: web });
    const before = await containerRules(node, backend);
    await node.sh(script);
    await node.addPod("second");
    const second = await addMappedPod(node, backend, "third", { ...options, mappings: [] });
    const call = portmapCall(backend, "third", second.result, { ...options, mappings: web });
    expectError(await cni(node, { ...call, command: "ADD" }), 102);
    expect(await containerRules(node, backend)).toEqual(before);
    // Nor is it in the way when it has gone.
    await node.sh(
      "kill $(ps -o pid= -C sleep) 2>/dev/null || true; umount /run/elsewhere 2>/dev/null || true",
    );
    await vi.waitFor(async () => cniOk(node, { ...call, command: "ADD" }), 5000);
  });

  test("it is the reference's, with reservations in another folder", async () => {
    await using node = await createNode(IPTABLES_NFT);
    await node.addPod("first");
    const ranges = [[{ subnet: "10.244.1.0/24" }]];
    const ipam = { type: "host-local", dataDir: "/var/lib/other", ranges };
    const conflist = {
      name: "cbr0",
      cniVersion: "1.0.0",
      plugins: [
        { ...bridgeConf([IPV4]), ipam, type: "bridge", bridge: "cni0" },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    };
    const call = { bin: referenceDir(), containerId: "first", netns: "/run/netns/first", conflist };
    const runtimeConfig = { portMappings: web };
    await runConflist(node, { ...call, runtimeConfig, command: "ADD" });
    const before = await natTable(node, IPTABLES_NFT, 4);
    await node.addPod("second");
    const result = resultFor("second", [IPV4], 5);
    const own = portmapCall(IPTABLES_NFT, "second", result, { mappings: web });
    expectError(await cni(node, { ...own, bin: binDir(), command: "ADD" }), 102);
    expect(await natTable(node, IPTABLES_NFT, 4)).toBe(before);
  });
});

/** Two attachments of one container, each with a host port of its own. */
async function attachTwice(
  node: Sandbox,
  backend: Backend,
  second: { readonly network?: string; readonly bridge?: string },
) {
  await node.addPod("pod1");
  const attach = async (ifname: string, hostPort: number, more: typeof second, third: number) => {
    const conf = {
      ...bridgeConf([IPV4]),
      cniVersion: "1.1.0",
      name: more.network ?? "cbr0",
      bridge: more.bridge ?? "cni0",
      ipam: { type: "host-local", ranges: [[{ subnet: `10.244.${third}.0/24` }]] },
    };
    const attachment = { containerId: "pod1", netns: "/run/netns/pod1", ifname, bin: binDir() };
    const result = await cniOk(node, { ...attachment, plugin: "bridge", conf, command: "ADD" });
    const call = portmapCall(backend, "pod1", result, {
      ...options,
      mappings: [{ ...web[0], hostPort }],
      network: conf.name,
    });
    await cniOk(node, { ...call, ifname, command: "ADD" });
    return { ...call, ifname };
  };
  return {
    first: await attach("eth0", 8081, {}, 1),
    second: await attach("eth1", 8082, second, second.network === undefined ? 1 : 2),
  };
}

describe.concurrent("S5: two attachments of one container", () => {
  const seconds = [
    { what: "in two networks", second: { network: "other", bridge: "cni1" } },
    { what: "in one network", second: {} },
  ];
  const cases = BACKENDS.flatMap((backend) =>
    seconds.flatMap((row) => ["DEL", "GC"].map((end) => ({ ...backend, ...row, end }))),
  );
  testSome(cases)("have host ports of their own: $what, $end ($backend)", async (row) => {
    await using node = await createNode(row);
    const { first, second } = await attachTwice(node, row, row.second);
    for (const call of [first, second]) await cniOk(node, { ...call, command: "CHECK" });
    const rules = await containerRules(node, row);
    if (row.end === "DEL") {
      await cniOk(node, { ...second, command: "DEL" });
    } else {
      const valid = row.second.network === undefined ? ["eth0"] : [];
      const list = valid.map((ifname) => ({ containerID: "pod1", ifname }));
      const conf = { ...second.conf, "cni.dev/valid-attachments": list };
      await cniOk(node, { ...second, conf, command: "GC" });
    }
    const rest = (await containerRules(node, row)).join("\n");
    expect(rest).not.toContain("8082");
    await cniOk(node, { ...first, command: "CHECK" });
    // Whichever comes again has its own beside the other's.
    await cniOk(node, { ...second, command: "ADD" });
    for (const call of [first, second]) await cniOk(node, { ...call, command: "CHECK" });
    expect((await containerRules(node, row)).toSorted()).toEqual(rules.toSorted());
    await cniOk(node, { ...first, command: "DEL" });
    await cniOk(node, { ...second, command: "CHECK" });
    await cniOk(node, { ...second, command: "DEL" });
    expect(await containerRules(node, row)).toEqual([]);
    expect(await records(node)).toEqual([]);
  });

  testSome(BACKENDS)("come at once, as some runtimes make them ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { first, second } = await attachTwice(node, backend, {
      network: "other",
      bridge: "cni1",
    });
    const expected = (await containerRules(node, backend)).toSorted();
    for (let round = 0; round < 3; round++) {
      for (const command of ["DEL", "ADD"] as const) {
        await Promise.all([first, second].map(async (call) => cniOk(node, { ...call, command })));
      }
      expect((await containerRules(node, backend)).toSorted()).toEqual(expected);
    }
  });
});

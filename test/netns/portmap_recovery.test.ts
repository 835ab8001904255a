/** How portmap recovers from kills and failures, to exactly the state that there should be. */
import { describe, expect, test } from "vitest";
import { isBun, soak, testSome } from "../helpers/form.ts";
import { cni, cniOk, runConflist, type Sandbox } from "../helpers/cni.ts";
import { IPV4, IPV6 } from "../helpers/network.ts";
import {
  addMappedPod,
  addPortmap,
  BACKENDS,
  containerRules,
  createNode,
  firewallOf,
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
  type PortmapCall,
} from "../helpers/portmap.ts";
import { expectError } from "../helpers/state.ts";

const otherMappings = [{ hostPort: 9080, containerPort: 80 }];
const options = { cniVersion: "1.1.0" };

/** A script that kills its parent, the plugin, when it runs for the nth time. */
const MOMENTS = ["before 1", "after 1", "before 2", "after 2"] as const;

function killer(moment: (typeof MOMENTS)[number]): string {
  const [when, nth] = moment.split(" ");
  return `
    echo . >>/run/calls
    nth=$(wc -l </run/calls)
    if [ ${when} = before ] && [ "$nth" = ${nth} ]; then kill -9 $PPID; exit 1; fi
    "$real" "$@"
    status=$?
    if [ "$nth" = ${nth} ]; then kill -9 $PPID; fi
    exit $status
  `;
}

async function killedAt(
  node: Sandbox,
  backend: Backend,
  call: PortmapCall,
  { command, moment }: { command: "ADD" | "DEL"; moment: (typeof MOMENTS)[number] },
): Promise<void> {
  const extraEnv = await wrap(node, backend, toolsOf(backend), killer(moment));
  const killed = await cni(node, { ...call, extraEnv, command });
  expect(killed.code, `${killed.stdout} ${killed.stderr}`).toBe(128 + 9);
  await node.remove("/run/calls");
}

/** iptables-legacy, whose rules only its tools can write. */
const legacyKills = MOMENTS.map((moment) => ({ ...IPTABLES_LEGACY, moment }));
/** ADD with conditions that need a tool for each change, which nftables makes in one. */
const kills = [
  ...legacyKills,
  ...MOMENTS.map((moment) => ({ ...IPTABLES_NFT, moment })),
  ...MOMENTS.slice(0, 2).map((moment) => ({ ...NFTABLES, moment })),
];

describe.concurrent("after a kill", () => {
  testSome(
    kills,
    4,
    2,
  )("of ADD $moment, ADD makes what it should have ($backend)", async (row) => {
    const stateAfter = async (moment?: (typeof MOMENTS)[number]) => {
      await using node = await createNode(row);
      await node.addPod("pod1");
      await addPortmap(node, row, "other", { ...options, mappings: otherMappings }, 1);
      const call = withConditions(row, portmapCall(row, "pod1", resultFor("pod1"), options));
      if (moment !== undefined) await killedAt(node, row, call, { command: "ADD", moment });
      await cniOk(node, { ...call, command: "ADD" });
      await cniOk(node, { ...call, command: "CHECK" });
      return { ...firewallOf(await node.snapshot()), records: await records(node) };
    };
    const [found, expected] = await Promise.all([stateAfter(row.moment), stateAfter()]);
    expect(found).toEqual(expected);
  });

  const ends = legacyKills.flatMap((kill) =>
    (["DEL", "GC"] as const).map((command) => ({ ...kill, command })),
  );
  testSome(ends)("of DEL $moment, $command leaves nothing ($backend)", async (row) => {
    await using node = await createNode(row);
    await node.addPod("pod1");
    await addPortmap(node, row, "other", { ...options, mappings: otherMappings }, 1);
    const before = await node.snapshot();
    const call = await addPortmap(node, row, "pod1", options);
    await killedAt(node, row, call, { command: "DEL", moment: row.moment });
    const valid = { "cni.dev/valid-attachments": [{ containerID: "other", ifname: "eth0" }] };
    const answer = await cni(node, {
      ...call,
      conf: { ...call.conf, ...valid },
      command: row.command,
    });
    expect(answer).toMatchObject({ code: 0, stdout: "", stderr: "" });
    const after = await node.snapshot();
    expect(firewallOf(after)).toEqual(firewallOf(before));
    const files = after["files"]?.filter((file) => !file.startsWith("/opt/cni/fakes/"));
    expect(files).toEqual(before["files"]);
  });
});

function withConditions(backend: Backend, call: PortmapCall): PortmapCall {
  return { ...call, conf: { ...call.conf, ...toolsConditions(backend) } };
}

/** An environment in which the changes of one family fail. */
async function failing(node: Sandbox, row: Backend & { readonly broken: number }) {
  if (row.backend !== "nftables") {
    const tool = row.broken === 4 ? "iptables-restore" : "ip6tables-restore";
    return wrap(node, row, [tool], "cat >/dev/null; echo broken >&2; exit 1");
  }
  const word = row.broken === 4 ? "ip" : "ip6";
  const script = `
    input=$(cat)
    case $input in *" ${word} cni_hostport"*) echo broken >&2; exit 1 ;; esac
    echo "$input" | "$real" "$@"
  `;
  return wrap(node, row, ["nft"], script);
}

describe.concurrent("where one family fails", () => {
  const failures = [4, 6].flatMap((broken) => BACKENDS.map((backend) => ({ ...backend, broken })));
  const ofLegacy = failures.filter(({ backend }) => backend === "iptables-legacy");
  testSome(ofLegacy)("DEL does the other one ($backend, IPv$broken)", async (row) => {
    await using node = await createNode(row);
    await node.addPod("pod1");
    await addPortmap(node, row, "other", { mappings: otherMappings }, 1);
    const before = firewallOf(await node.snapshot());
    const call = await addPortmap(node, row, "pod1");
    const extraEnv = await failing(node, row);
    const answer = await cni(node, { ...call, extraEnv, command: "DEL" });
    expect(answer).toMatchObject({ code: 0, stdout: "" });
    expect(answer.stderr.match(/Rules of pod1 are left/g)).toHaveLength(1);
    const rules = (await containerRules(node, row)).join("\n");
    const addresses = { 4: IPV4.pod(0), 6: IPV6.pod(0) };
    expect(rules.includes(addresses[4])).toBe(row.broken === 4);
    expect(rules.includes(addresses[6])).toBe(row.broken === 6);
    // Not this pod's call again: another pod's DEL cleans up as well.
    const passing = portmapCall(row, "passing", undefined, { mappings: [] });
    const mended = await cni(node, { ...passing, command: "DEL" });
    expect(mended).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect(firewallOf(await node.snapshot())).toEqual(before);
  });

  testSome(
    failures,
    4,
    2,
  )("ADD takes back the other one ($backend, IPv$broken)", async (row) => {
    await using node = await createNode(row);
    await node.addPod("pod1");
    await addPortmap(node, row, "other", { mappings: otherMappings }, 1);
    const before = firewallOf(await node.snapshot());
    const known = await records(node);
    const extraEnv = await failing(node, row);
    const call = withConditions(row, portmapCall(row, "pod1", resultFor("pod1")));
    expectError(await cni(node, { ...call, extraEnv, command: "ADD" }), 100);
    expect(firewallOf(await node.snapshot())).toEqual(before);
    expect(await records(node)).toEqual(known);
  });
});

describe.concurrent("a conflist's DEL", () => {
  testSome(
    BACKENDS,
    4,
    2,
  )("goes on to the address when no tool works ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { conflist } = await addMappedPod(node, backend, "pod1");
    const extraEnv = await wrap(node, backend, toolsOf(backend), "exit 2");
    await runConflist(node, { ...conflist, extraEnv });
    const reserved = await node.list("/var/lib/cni/networks/cbr0");
    expect(reserved.filter((name) => !/^(last_reserved_ip\.\d|lock)$/.test(name))).toEqual([]);
    const isLegacy = backend.backend === "iptables-legacy";
    expect((await containerRules(node, backend)).length > 0).toBe(isLegacy);
    await runConflist(node, conflist);
    expect(await containerRules(node, backend)).toEqual([]);
    expect(await records(node)).toEqual([]);
  });
});

describe.concurrent("while the xtables lock is held", () => {
  test("DEL waits once, and CHECK says who holds it", async () => {
    await using node = await createNode(IPTABLES_LEGACY);
    await node.addPod("pod1");
    const call = await addPortmap(node, IPTABLES_LEGACY, "pod1");
    const before = firewallOf(await node.snapshot());
    await node.sh(`
      flock --no-fork /run/xtables.lock sleep 60 >/dev/null 2>&1 </dev/null &
      echo $! >/run/holder
      while flock -n /run/xtables.lock true; do sleep 0.02; done
    `);
    const [deleted, checked] = await Promise.all([
      cni(node, { ...call, command: "DEL" }),
      cni(node, { ...call, command: "CHECK" }),
    ]);
    expectError(checked, 11);
    expect(checked.json?.msg).toMatch(/process \d+ \((flock|sleep)\) holds/);
    expect(deleted).toMatchObject({ code: 0, stdout: "" });
    expect(deleted.stderr).toMatch(/Rules of pod1 are left .* process \d+ \((flock|sleep)\) holds/);
    // The lock's 10 seconds, once: not for each family, and not for another try.
    expect(deleted.ms).toBeLessThan(15_000);
    expect(firewallOf(await node.snapshot())).toEqual(before);
    await node.sh("kill $(cat /run/holder)");
    const passing = portmapCall(IPTABLES_LEGACY, "passing", undefined, { mappings: [] });
    await cniOk(node, { ...passing, command: "DEL" });
    expect(await containerRules(node, IPTABLES_LEGACY)).toEqual([]);
    expect(await records(node)).toEqual([]);
  });
});

function sortedLines(text: string): readonly string[] {
  return text.split("\n").toSorted();
}

describe.concurrent("of the shared rules", () => {
  const shared = /^-A (PREROUTING|OUTPUT|POSTROUTING|CNI-HOSTPORT-(SETMARK|MASQ)) /;

  testSome([IPTABLES_NFT, IPTABLES_LEGACY])("the next ADD misses each ($backend)", async (row) => {
    const { env } = row;
    await using node = await createNode(row);
    await addPortmap(node, row, "pod1");
    for (const [family, program] of [
      [4, "iptables-restore"],
      [6, "ip6tables-restore"],
    ] as const) {
      const saved = await natTable(node, row, family);
      const rules = saved.split("\n").filter((line) => shared.test(line));
      expect(rules).toHaveLength(5);
      for (const rule of rules) {
        const input = `*nat\n${rule.replace("-A ", "-D ")}\nCOMMIT\n`;
        await node.output(program, ["--noflush"], { env, input });
        const call = await addPortmap(node, row, "pod2", { mappings: otherMappings }, 1);
        await cniOk(node, { ...call, command: "CHECK" });
        await cniOk(node, { ...call, command: "DEL" });
        expect(await natTable(node, row, family), rule).toBe(saved);
      }
    }
  });

  test("the next ADD misses each (nftables)", async () => {
    await using node = await createNode(NFTABLES);
    await addPortmap(node, NFTABLES, "pod1");
    const list = async (family: string) => node.sh(`nft list table ${family} cni_hostport`);
    for (const family of ["ip", "ip6"]) {
      const saved = await list(family);
      for (const damage of [
        `flush chain ${family} cni_hostport prerouting`,
        `flush chain ${family} cni_hostport output`,
        `delete rule ${family} cni_hostport hostports_all handle $FIRST`,
        `flush chain ${family} cni_hostport hostports_all`,
        `delete chain ${family} cni_hostport prerouting`,
      ]) {
        const listing = await node.sh(`nft -a list chain ${family} cni_hostport hostports_all`);
        const first = /jump hostip_hostports # handle (\d+)/.exec(listing)?.[1] ?? "";
        const flush = damage.startsWith("delete chain")
          ? `nft flush chain ${family} cni_hostport prerouting;`
          : "";
        await node.sh(`${flush} nft ${damage.replace("$FIRST", first)}`);
        const call = await addPortmap(node, NFTABLES, "pod2", { mappings: otherMappings }, 1);
        await cniOk(node, { ...call, command: "CHECK" });
        await cniOk(node, { ...call, command: "DEL" });
        expect(sortedLines(await list(family)), damage).toEqual(sortedLines(saved));
      }
    }
  });

  testSome([IPTABLES_NFT, IPTABLES_LEGACY])(
    "D6: the next ADD takes none that looks alike for its own ($backend)",
    async (row) => {
      const { env } = row;
      await using node = await createNode(row);
      await addPortmap(node, row, "pod1");
      const saved = await natTable(node, row, 4);
      for (const rule of saved.split("\n").filter((line) => shared.test(line))) {
        const alike = rule.replace(/^-A (\S+) /, "-A $1 -s 198.51.100.9/32 ");
        const change = async (...lines: readonly string[]) => {
          const input = `${["*nat", ...lines, "COMMIT"].join("\n")}\n`;
          return node.output("iptables-restore", ["--noflush"], { env, input });
        };
        await change(rule.replace("-A ", "-D "), alike);
        const call = await addPortmap(node, row, "pod2", { mappings: otherMappings }, 1);
        expect((await natTable(node, row, 4)).split("\n")).toContain(rule);
        await cniOk(node, { ...call, command: "DEL" });
        await change(alike.replace("-A ", "-D "));
        expect(sortedLines(await natTable(node, row, 4)), rule).toEqual(sortedLines(saved));
      }
    },
  );

  test("D6: the next ADD takes none that looks alike for its own (nftables)", async () => {
    await using node = await createNode(NFTABLES);
    await addPortmap(node, NFTABLES, "pod1");
    const list = async () => node.sh("nft list table ip cni_hostport");
    const saved = await list();
    for (const [chain, rule] of [
      ["prerouting", "fib daddr type local jump hostports_all"],
      ["output", "fib daddr type local jump hostports_all"],
      ["hostports_all", "jump hostports"],
    ] as const) {
      await node.sh(`
        nft flush chain ip cni_hostport ${chain}
        nft add rule ip cni_hostport ${chain} ip saddr 198.51.100.9 ${rule}
      `);
      const call = await addPortmap(node, NFTABLES, "pod2", { mappings: otherMappings }, 1);
      await cniOk(node, { ...call, command: "DEL" });
      expect(sortedLines(await list()), chain).toEqual(sortedLines(saved));
    }
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("many pods at once on a fresh node make one each ($backend)", async (row) => {
    const stateAfter = async (atOnce: boolean) => {
      await using node = await createNode(row);
      const calls = Array.from({ length: isBun || soak ? 24 : 8 }, (_, n) =>
        portmapCall(row, `pod${n}`, resultFor(`pod${n}`, undefined, n), {
          mappings: [{ hostPort: 8000 + n, containerPort: 80, protocol: "udp" }],
        }),
      );
      const add = async (call: PortmapCall) => cniOk(node, { ...call, command: "ADD" });
      if (atOnce) await Promise.all(calls.map(add));
      else for (const call of calls) await add(call);
      for (const call of calls.slice(0, 3)) await cniOk(node, { ...call, command: "CHECK" });
      const sections = Object.entries(firewallOf(await node.snapshot()));
      return sections.map(([name, lines]) => [name, lines.toSorted()]);
    };
    expect(await stateAfter(true)).toEqual(await stateAfter(false));
  });
});

/** Rules that another program has flushed, and rules without an owner. */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import { cni, cniOk, type Sandbox } from "../helpers/cni.ts";
import {
  BACKENDS,
  createNode,
  IPTABLES_LEGACY,
  IPTABLES_NFT,
  portmapCall,
  resultFor,
  sortedFirewall,
  type Backend,
  type PodOptions,
} from "../helpers/portmap.ts";

const FLUSH = `
  nft flush ruleset
  if grep -qs . /proc/net/ip_tables_names; then iptables-legacy -t nat -F; iptables-legacy -t nat -X; fi
  if grep -qs . /proc/net/ip6_tables_names; then ip6tables-legacy -t nat -F; ip6tables-legacy -t nat -X; fi
`;

/** The folders of a node's own programs. */
const SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin";

/** Maps a host port to port 80 of a pod. */
async function addPod(node: Sandbox, backend: Backend, n: number, options: PodOptions = {}) {
  const name = `pod${n}`;
  await node.addPod(name);
  const mappings = [{ hostPort: 8080 + n, containerPort: 80, protocol: "tcp" }];
  const call = portmapCall(backend, name, resultFor(name, undefined, n), { mappings, ...options });
  await cniOk(node, { ...call, command: "ADD" });
  return call;
}

/** Portmap's GC with all of these pods valid. */
function gc(call: ReturnType<typeof portmapCall>, ...valid: readonly string[]) {
  const list = valid.map((containerID) => ({ containerID, ifname: "eth0" }));
  const conf = { ...call.conf, cniVersion: "1.1.0", "cni.dev/valid-attachments": list };
  return { ...call, command: "GC", conf } as const;
}

describe.concurrent("M6: a firewall's reload", () => {
  testSome(
    BACKENDS,
    4,
    2,
  )("is made good by GC ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const calls = [await addPod(node, backend, 0), await addPod(node, backend, 1)];
    const before = await sortedFirewall(node);
    await node.sh(FLUSH);
    expect(await cni(node, { ...calls[0], command: "CHECK" } as never)).toMatchObject({
      json: { code: 105 },
    });
    for (let time = 0; time < 2; time++) await cniOk(node, gc(calls[0] as never, "pod0", "pod1"));
    expect(await sortedFirewall(node)).toEqual(before);
    for (const call of calls) await cniOk(node, { ...call, command: "CHECK" });
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("is made good by the next ADD ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const first = await addPod(node, backend, 0);
    const gone = await addPod(node, backend, 1);
    await node.sh(FLUSH);
    await node.removePod("pod1");
    await addPod(node, backend, 2);
    await cniOk(node, { ...first, command: "CHECK" });
    const text = JSON.stringify(await sortedFirewall(node));
    expect(text, "the rules of a pod that is gone").not.toContain("8081");
    await cniOk(node, { ...gone, command: "DEL" });
  });

  test("GC makes nothing of another network, nor of a pod that is gone", async () => {
    await using node = await createNode(IPTABLES_NFT);
    const own = await addPod(node, IPTABLES_NFT, 0);
    await addPod(node, IPTABLES_NFT, 1, { network: "other" });
    await addPod(node, IPTABLES_NFT, 2);
    await node.sh(FLUSH);
    await node.removePod("pod2");
    await cniOk(node, gc(own, "pod0", "pod2"));
    const text = JSON.stringify(await sortedFirewall(node));
    expect(text).toContain("8080");
    // A call that makes the shared rules again makes all pods' rules again.
    expect(text).toContain("8081");
    expect(text).not.toContain("8082");
  });
});

describe.concurrent("GC", () => {
  testSome(
    BACKENDS,
    4,
    2,
  )("deletes all that is stale at once ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const calls = [];
    for (let n = 0; n < 5; n++) calls.push(await addPod(node, backend, n));
    // Counts the processes that are started.
    await node.sh(
      `
      mkdir -p /opt/cni/counting
      touch /run/started
      for program in iptables-restore ip6tables-restore iptables-save ip6tables-save nft; do
        real=$(PATH="$REAL" command -v "$program")
        printf '#!/bin/sh\\necho %s >> /run/started\\nexec %s "$@"\\n' "$program" "$real" > "/opt/cni/counting/$program"
        chmod 755 "/opt/cni/counting/$program"
      done
    `,
      { env: { REAL: backend.env["PATH"] ?? SYSTEM_PATH } },
    );
    const env = { PATH: `/opt/cni/counting:${backend.env["PATH"] ?? SYSTEM_PATH}` };
    const call = { ...gc(calls[0] as never, "pod4"), extraEnv: env };
    await cniOk(node, call);
    const started = (await node.readFile("/run/started")).split("\n");
    const changes = started.filter((program) => /restore|nft/.test(program)).toSorted();
    const restores = ["ip6tables-restore", "iptables-restore"];
    const expected = {
      // nf_tables' rules are changed without a process.
      "iptables-nft": [],
      nftables: [],
      // One more per family looks whether the shared rules are there.
      "iptables-legacy": [...restores, ...restores].toSorted(),
    };
    expect(changes).toEqual(expected[backend.backend]);
    const text = JSON.stringify(await sortedFirewall(node));
    expect(text.match(/808\d/g)?.filter((port) => port !== "8084")).toEqual([]);
    expect(text).toContain("8084");
  });
});

describe.concurrent("a node that has changed its iptables", () => {
  const changes = [
    { from: IPTABLES_NFT, to: IPTABLES_LEGACY },
    { from: IPTABLES_LEGACY, to: IPTABLES_NFT },
  ];
  const cases = changes.flatMap(({ from, to }) =>
    [true, false].map((hasRecord) => ({ from, to, hasRecord, name: from.backend })),
  );

  testSome(cases)("DEL finds what $name has made (recorded: $hasRecord)", async (row) => {
    await using node = await createNode(IPTABLES_LEGACY);
    const call = await addPod(node, row.from, 0);
    if (!row.hasRecord) await node.remove("/run/flannel-cni");
    const { runtimeConfig: _, prevResult: __, ...conf } = call.conf;
    const answer = await cni(node, { ...call, conf, extraEnv: row.to.env, command: "DEL" });
    expect(answer).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.stringify(await sortedFirewall(node))).not.toMatch(/CNI-DN-|8080/);
  });

  test.for([IPTABLES_NFT, IPTABLES_LEGACY])(
    "ADD again replaces rules that nothing is recorded of ($backend)",
    async (backend) => {
      await using node = await createNode(backend);
      const call = await addPod(node, backend, 0);
      const before = await sortedFirewall(node);
      await node.remove("/run/flannel-cni");
      await cniOk(node, { ...call, command: "ADD" });
      expect(await sortedFirewall(node)).toEqual(before);
    },
  );
});

describe.concurrent("CHECK", () => {
  test.for([IPTABLES_NFT, IPTABLES_LEGACY])(
    "tells apart rules that are alike ($backend)",
    async (row) => {
      const mappings = [8080, 8081].map((hostPort) => ({
        hostPort,
        containerPort: hostPort,
        protocol: "tcp",
      }));
      await using node = await createNode(row);
      const call = await addPod(node, row, 0, { mappings });
      for (const program of ["iptables", "ip6tables"]) {
        const env = row.env;
        const saved = await node.sh(`${program}-save -t nat`, { env });
        const rules = saved.split("\n").filter((line) => /^-A CNI-DN-.* (SETMARK|DNAT)/.test(line));
        for (const rule of rules) {
          const input = `*nat\n${rule.replace("-A ", "-D ")}\nCOMMIT\n`;
          await node.output(`${program}-restore`, ["--noflush"], { env, input });
          const { json } = await cni(node, { ...call, command: "CHECK" });
          expect(json?.msg, rule).toContain(rule.replace("-A ", ""));
          await node.output(`${program}-restore`, [], { env, input: saved });
        }
      }
      await cniOk(node, { ...call, command: "CHECK" });
    },
  );
});

/** Host ports when things go wrong: locks, failing tools, owners that are gone, kills, crowds. */
import { describe, expect, test, vi } from "vitest";
import { isBun, soak, testSome } from "../helpers/form.ts";
import { cni, cniOk, referenceDir } from "../helpers/cni.ts";
import {
  addMappedPod,
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
  toolsOf,
  wrap,
  type Backend,
  type PortMapping,
} from "../helpers/portmap.ts";
import { IPV4 } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";

const web: readonly PortMapping[] = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];

/** A call of portmap for the nth pod, which has only what a bridge would have said of it. */
function callFor(backend: Backend, name: string, n = 0, mappings = web, families = [IPV4]) {
  return portmapCall(backend, name, resultFor(name, families, n), { mappings, families });
}

describe.concurrent("a host port that another has", () => {
  testSome(
    BACKENDS,
    4,
    2,
  )("M3: is refused while its pod is there ($backend)", async (backend) => {
    await using node = await createNode(backend);
    await addMappedPod(node, backend, "pod1", { mappings: web });
    await node.addPod("pod2");
    const before = await node.snapshot();
    const answer = await cni(node, { ...callFor(backend, "pod2", 1), command: "ADD" });
    expectError(answer, 102);
    expect(answer.json?.msg).toMatch(/8080\/tcp is mapped to container pod1 \(10\.244\.1\.2/);
    expect(firewallOf(await node.snapshot())).toEqual(firewallOf(before));
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("M3: is taken over when its pod has gone ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const families = [IPV4];
    await addMappedPod(node, backend, "pod1", { mappings: web, families });
    // DEL was lost: the namespace is gone, but its rules are not.
    await node.removePod("pod1");
    const next = await addMappedPod(node, backend, "pod2", { mappings: web, families });
    const rules = await containerRules(node, backend);
    expect(rules.join("\n")).toContain("pod2");
    expect(rules.join("\n")).not.toContain("pod1");
    await cniOk(node, { ...next.portmap, command: "DEL" });
    expect(await containerRules(node, backend)).toEqual([]);
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("M3: is taken over when its reservation has gone ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const families = [IPV4];
    await addMappedPod(node, backend, "pod1", { mappings: web, families });
    await node.remove("/var/lib/cni/networks/cbr0/10.244.1.2");
    await addMappedPod(node, backend, "pod2", { mappings: web, families });
    expect((await containerRules(node, backend)).join("\n")).not.toContain("pod1");
  });

  const pairs = [
    { first: {}, second: { hostIP: "192.0.2.1" }, clash: true },
    { first: { hostIP: "0.0.0.0" }, second: { hostIP: "192.0.2.1" }, clash: true },
    { first: { hostIP: "192.0.2.1" }, second: { hostIP: "192.0.2.2" }, clash: false },
    { first: { hostIP: "0.0.0.0" }, second: { hostIP: "::" }, clash: false },
    { first: {}, second: { protocol: "udp" }, clash: false },
    { first: {}, second: { hostPort: 8081 }, clash: false },
  ];
  testSome(pairs)("$first and $second clash: $clash", async ({ first, second, clash }) => {
    await using node = await createNode(IPTABLES_NFT);
    const add = async (name: string, n: number, more: PortMapping) => {
      await node.addPod(name);
      const mappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp", ...more }];
      return cni(node, { ...callFor(IPTABLES_NFT, name, n, mappings), command: "ADD" });
    };
    expect((await add("pod1", 0, first)).code).toBe(0);
    expect((await add("pod2", 1, second)).code).toBe(clash ? 1 : 0);
  });

  test("by the reference plugin: refused while reserved, taken over after", async () => {
    await using node = await createNode(IPTABLES_NFT);
    const bin = referenceDir();
    const families = [IPV4];
    const call = { ...callFor(IPTABLES_NFT, "old"), bin };
    await node.addPod("old");
    await node.sh("mkdir -p /var/lib/cni/networks/cbr0");
    await node.writeFile("/var/lib/cni/networks/cbr0/10.244.1.2", "old\r\neth0");
    await cniOk(node, { ...call, command: "ADD" });
    await node.addPod("pod2");
    const next = callFor(IPTABLES_NFT, "pod2", 1, web, families);
    expectError(await cni(node, { ...next, command: "ADD" }), 102);
    await node.remove("/var/lib/cni/networks/cbr0/10.244.1.2");
    await cniOk(node, { ...next, command: "ADD" });
    const rules = (await containerRules(node, IPTABLES_NFT)).join("\n");
    expect(rules).toContain('id: \\"pod2\\"');
    expect(rules).not.toContain('id: \\"old\\"');
  });

  test("M8: a process of the host: named in a warning, or refused", async () => {
    await using node = await createNode(IPTABLES_NFT);
    await node.addPod("pod1");
    const listen = `const s = require("net").createServer().listen(8080, () => console.log("up")); setTimeout(() => s.close(), 20000)`;
    const server = node.exec(process.execPath, ["-e", listen], { timeout: 25_000 });
    await vi.waitFor(async () => expect(await node.sh("ss -Hltn sport = :8080")).not.toBe(""), {
      timeout: 10_000,
    });
    const call = callFor(IPTABLES_NFT, "pod1");
    const refusing = { ...call, conf: { ...call.conf, hostPortConflict: "refuse" } };
    const refusal = await cni(node, { ...refusing, command: "ADD" });
    expectError(refusal, 102);
    expect(refusal.json?.msg).toMatch(/8080\/tcp is used by \S+ \(pid \d+\)/);
    expect(await records(node)).toEqual([]);
    const answer = await cni(node, { ...call, command: "ADD" });
    expect(answer.code).toBe(0);
    expect(answer.stderr).toMatch(/8080\/tcp is used by \S+ \(pid \d+\) of the host/);
    await node.sh("pkill -f '[c]reateServer' || true");
    await server;
  });
});

describe.concurrent("when the firewall's tools fail", () => {
  testSome(
    BACKENDS,
    4,
    2,
  )("ADD leaves nothing ($backend)", async (backend) => {
    await using node = await createNode(backend);
    await node.addPod("pod1");
    const before = await node.snapshot();
    const extraEnv = await wrap(node, backend, toolsOf(backend), "echo broken >&2; exit 1");
    const answer = await cni(node, { ...callFor(backend, "pod1"), extraEnv, command: "ADD" });
    expectError(answer, 100);
    expect(answer.json?.msg).toContain("broken");
    expect(firewallOf(await node.snapshot())).toEqual(firewallOf(before));
    expect(await records(node)).toEqual([]);
  });

  test.each([IPTABLES_NFT, NFTABLES])("DEL needs none ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const { portmap } = await addMappedPod(node, backend, "pod1", { mappings: web });
    const extraEnv = await wrap(node, backend, toolsOf(backend), "echo broken >&2; exit 1");
    const answer = await cni(node, { ...portmap, extraEnv, command: "DEL" });
    expect(answer).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect(await containerRules(node, backend)).toEqual([]);
    expect(await records(node)).toEqual([]);
  });

  test("M2: DEL succeeds, says so, and the next call mends it (iptables-legacy)", async () => {
    const backend = IPTABLES_LEGACY;
    await using node = await createNode(backend);
    const { portmap } = await addMappedPod(node, backend, "pod1", { mappings: web });
    const extraEnv = await wrap(node, backend, toolsOf(backend), "echo broken >&2; exit 1");
    const answer = await cni(node, { ...portmap, extraEnv, command: "DEL" });
    expect(answer).toMatchObject({ code: 0, stdout: "" });
    expect(answer.stderr).toMatch(/Rules of pod1 are left and will be tried again/);
    const again = await cni(node, { ...portmap, extraEnv, command: "DEL" });
    expect(again).toMatchObject({ code: 0, stderr: "" });
    expect(await containerRules(node, backend)).not.toEqual([]);
    // Any pod's call does it, even of one without host ports.
    await cniOk(node, { ...callFor(backend, "other", 3, []), command: "DEL" });
    expect(await containerRules(node, backend)).toEqual([]);
    expect(await records(node)).toEqual([]);
  });

  test("M1: a lock that is never freed is code 11, in bounded time, with its holder", async () => {
    await using node = await createNode(IPTABLES_LEGACY);
    await node.addPod("pod1");
    const lockHolder = node.exec("flock", ["/run/xtables.lock", "sleep", "25"], {
      timeout: 40_000,
    });
    await vi.waitFor(async () => {
      const tried = await node.exec("flock", ["-n", "/run/xtables.lock", "true"]);
      expect(tried.exitCode).toBe(1);
    }, 10_000);
    const answer = await cni(node, { ...callFor(IPTABLES_LEGACY, "pod1"), command: "ADD" });
    expectError(answer, 11);
    expect(answer.json?.msg).toMatch(/process \d+ \((flock|sleep)\) holds/);
    expect(answer.ms).toBeLessThan(20_000);
    expect(await records(node)).toEqual([]);
    await node.sh("pkill sleep || true");
    await lockHolder;
  });

  testSome(
    BACKENDS,
    4,
    2,
  )("M6: after a flush ADD makes the shared rules again ($backend)", async (backend) => {
    await using node = await createNode(backend);
    const first = await addMappedPod(node, backend, "pod1", { mappings: web });
    const flush =
      backend.backend === "nftables"
        ? "nft flush ruleset"
        : "iptables -t nat -F; ip6tables -t nat -F";
    await node.sh(flush, { env: backend.env });
    expectError(await cni(node, { ...first.portmap, command: "CHECK" }), 105);
    const mappings = [{ hostPort: 8081, containerPort: 80, protocol: "tcp" }];
    const second = await addMappedPod(node, backend, "pod2", { mappings });
    await cniOk(node, { ...second.portmap, command: "CHECK" });
    for (const { portmap } of [first, second]) await cniOk(node, { ...portmap, command: "DEL" });
    expect(await containerRules(node, backend)).toEqual([]);
    expect(await records(node)).toEqual([]);
  });
});

/** The two families' tables have the same line for the container's chain and its entry. */
function duplicatesOf({ backend }: Backend): number {
  return backend === "nftables" ? 0 : 2;
}

describe.concurrent("killed", () => {
  const moments = {
    "before the first change": "kill -9 $PPID; exit 1",
    "after the first change": '"$real" "$@"; kill -9 $PPID',
    "before the second change":
      'if [ -e /run/once ]; then kill -9 $PPID; exit 1; fi; touch /run/once; exec "$real" "$@"',
    "after the second change":
      '"$real" "$@"; if [ -e /run/once ]; then kill -9 $PPID; fi; touch /run/once',
  } as const;
  const names = Object.keys(moments) as (keyof typeof moments)[];
  const ends = ["DEL", "GC", "ADD"] as const;
  const cases = BACKENDS.flatMap((backend) =>
    names.flatMap((moment) => ends.map((end) => ({ ...backend, moment, end }))),
  );
  testSome(
    cases,
    4,
    2,
  )("ADD $moment, then $end ($backend)", async ({ moment, end, ...backend }) => {
    await using node = await createNode(backend);
    await node.addPod("pod1");
    const call = portmapCall(backend, "pod1", resultFor("pod1"), {
      mappings: web,
      cniVersion: "1.1.0",
    });
    const extraEnv = await wrap(node, backend, toolsOf(backend), moments[moment]);
    const killed = await cni(node, { ...call, extraEnv, command: "ADD" });
    expect(killed.code, killed.stdout).not.toBe(0);
    if (end === "ADD") {
      await cniOk(node, { ...call, command: "ADD" });
      await cniOk(node, { ...call, command: "CHECK" });
      const rules = await containerRules(node, backend);
      expect(new Set(rules).size, "every rule once").toBe(rules.length - duplicatesOf(backend));
    }
    const conf = end === "GC" ? { ...call.conf, "cni.dev/valid-attachments": [] } : call.conf;
    await cniOk(node, { ...call, conf, command: end === "GC" ? "GC" : "DEL" });
    expect(await containerRules(node, backend)).toEqual([]);
    expect(await records(node)).toEqual([]);
  });

  test("DEL in the middle, then DEL (iptables-legacy)", async () => {
    const backend = IPTABLES_LEGACY;
    await using node = await createNode(backend);
    const { portmap } = await addMappedPod(node, backend, "pod1", { mappings: web });
    const script = moments["after the first change"];
    const extraEnv = await wrap(node, backend, toolsOf(backend), script);
    expect((await cni(node, { ...portmap, extraEnv, command: "DEL" })).code).not.toBe(0);
    await cniOk(node, { ...portmap, command: "DEL" });
    expect(await containerRules(node, backend)).toEqual([]);
    expect(await records(node)).toEqual([]);
  });
});

describe("a crowd", () => {
  const count = soak ? 100 : isBun ? 48 : 24;
  testSome(BACKENDS, 4, 2)(
    "M7: pods with 3 ports each, 16 at once, the lock held and freed meanwhile ($backend)",
    { timeout: 240_000 },
    async (backend) => {
      await using node = await createNode(backend);
      const lock = "for i in $(seq 100); do flock /run/xtables.lock sleep 0.05; sleep 0.05; done";
      const rival = node.exec("sh", ["-c", lock], { timeout: 60_000 });
      const pods = Array.from({ length: count }, (_, n) => {
        const mappings = ["tcp", "udp", "tcp"].map((protocol, at) => ({
          hostPort: 20_000 + n * 3 + at,
          containerPort: 80 + at,
          protocol,
        }));
        return callFor(backend, `pod${n}`, n, mappings);
      });
      const all = async (command: "ADD" | "DEL"): Promise<void> => {
        const waiting = [...pods];
        const worker = async (): Promise<void> => {
          for (let call = waiting.pop(); call !== undefined; call = waiting.pop()) {
            await cniOk(node, { ...call, command });
          }
        };
        await Promise.all(Array.from({ length: 16 }, worker));
      };
      await all("ADD");
      const rules = await containerRules(node, backend);
      expect(new Set(rules).size, "every rule once").toBe(rules.length);
      // nftables: 3 DNATs, 2 marks (TCP, UDP) and 3 to masquerade. iptables: the chain, 9 in it, 2 that lead there.
      expect(rules).toHaveLength(count * (backend.backend === "nftables" ? 8 : 12));
      if (backend.backend !== "nftables") {
        const table = await natTable(node, backend, 4);
        for (const chain of ["PREROUTING", "OUTPUT"]) {
          const jumps = table.match(new RegExp(`^-A ${chain} .*-j CNI-HOSTPORT-DNAT$`, "gm"));
          expect(jumps, chain).toHaveLength(1);
        }
        expect(table.match(/-j CNI-HOSTPORT-MASQ$/gm)).toHaveLength(1);
        expect(table.match(/^-A CNI-HOSTPORT-(MASQ|SETMARK) /gm)).toHaveLength(2);
      }
      await all("DEL");
      expect(await containerRules(node, backend)).toEqual([]);
      expect(await records(node)).toEqual([]);
      await node.sh("pkill -f '[x]tables.lock' || true");
      await rival;
    },
  );
});

/**
 * Many pods at once, with calls killed at random: no address is ever given twice, and nothing is left
 * at the end. The long form (SOAK=1) is ten rounds of 500 pods, 32 at once.
 */
import { afterAll, describe, expect, test } from "vitest";
import { leftovers } from "../lab/leftovers.ts";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  type CniAnswer,
  type Conf,
  type Sandbox,
} from "../helpers/cni.ts";
import { addressesIn, bridgeConf, DUAL_STACK, IPV4, writeSubnetEnv } from "../helpers/network.ts";
import { Crowd, crowd, tally } from "./crowd.ts";
import { isBun, soak } from "../helpers/form.ts";

const bin = binDir();
const pods = soak ? 500 : isBun ? 48 : 16;
const rounds = soak ? 10 : 1;
const atOnce = soak ? 32 : 16;
afterAll(() => {
  console.log(`crowd: ${JSON.stringify(tally)}`);
});

const ip = (name: string, third: number, bridge = "cni0"): Conf => ({
  ...bridgeConf([IPV4]),
  name,
  bridge,
  ipam: { type: "host-local", ranges: [[{ subnet: `10.244.${third}.0/24` }]] },
});
const call = (id: string, conf: Conf) => ({
  bin,
  plugin: "bridge",
  containerId: id,
  netns: `/run/netns/${id}`,
  conf,
});

/** flannel's ADD, then portmap's. */
async function addChain(node: Sandbox, id: string, port: number): Promise<CniAnswer> {
  const flannel: Conf = { cniVersion: "1.0.0", name: "cbr0", type: "flannel" };
  const pod = { bin, containerId: id, netns: `/run/netns/${id}`, command: "ADD" } as const;
  const added = await cni(node, { ...pod, plugin: "flannel", conf: flannel });
  if (added.code !== 0) return added;
  const portMappings = [{ hostPort: 10_000 + port, containerPort: 80, protocol: "tcp" }];
  const conf = {
    ...flannel,
    type: "portmap",
    prevResult: added.json,
    runtimeConfig: { portMappings },
  };
  return cni(node, { ...pod, plugin: "portmap", conf });
}

describe("a crowd", () => {
  test("has no address twice, and leaves nothing", { timeout: 7_200_000 }, async () => {
    await using node = await createSandbox();
    await writeSubnetEnv(node, DUAL_STACK);
    await node.sh("mkdir -p /run/netns");
    const before = await node.snapshot();
    for (let round = 0; round < rounds; round++) {
      const wave = new Crowd(node, round + 1);
      await crowd(pods, atOnce, async (n) => wave.live(n));
      if (soak) console.log(`round ${round + 1}: ${JSON.stringify(tally)}`);
    }
    expect(tally.duplicates).toBe(0);
    const left = leftovers(before, await node.snapshot());
    expect(left.filter((line) => line !== "+ mounts: /run/netns tmpfs")).toEqual([]);
  });
});

describe.concurrent("at once", () => {
  const ids = Array.from({ length: 12 }, (_, n) => `pod${n}`);
  const addPods = async (node: Sandbox) =>
    node.sh(ids.map((id) => `ip netns add ${id}`).join("\n"));

  test("calls that make the bridge make one", async () => {
    await using node = await createSandbox();
    await addPods(node);
    const results = await Promise.all(
      ids.map(async (id) => cniOk(node, { ...call(id, ip("a", 1)), command: "ADD" })),
    );
    const macs = new Set(results.map(({ interfaces }) => interfaces?.[0]?.mac));
    expect(macs.size).toBe(1);
    expect(new Set(results.flatMap(addressesIn)).size).toBe(ids.length);
    const bridges = (await node.links()).filter(({ linkinfo }) => linkinfo?.info_kind === "bridge");
    expect(bridges).toHaveLength(1);
    expect(await node.link("cni0")).toMatchObject({ address: [...macs][0] });
  });

  test("two networks on one bridge don't get into each other's way", async () => {
    await using node = await createSandbox();
    await addPods(node);
    const calls = ids.map((id, n) => call(id, ip(n % 2 === 0 ? "a" : "b", n % 2)));
    for (let round = 0; round < 4; round++) {
      const answers = await Promise.all(
        calls.map(async (attachment) => cni(node, { ...attachment, command: "ADD" })),
      );
      // The bridge belongs to the first network. The other network's ADD fails, and leaves nothing.
      const refused = answers.filter(({ code }) => code !== 0);
      expect(refused.filter(({ json }) => json?.code !== 102)).toEqual([]);
      const gateways = (await node.addresses()).filter(
        ({ ifname, family }) => ifname === "cni0" && family === "inet",
      );
      expect(gateways).toHaveLength(1);
      const added = answers.flatMap(({ code, json }) => (code === 0 ? [json?.ips] : []));
      expect(added).not.toEqual([]);
      for (const ips of added) expect(ips).toMatchObject([{ gateway: gateways[0]?.local }]);
      const veths = (await node.links()).filter(({ ifname }) => ifname.startsWith("veth"));
      expect(veths).toHaveLength(added.length);
      await Promise.all(
        calls.map(async (attachment) => cniOk(node, { ...attachment, command: "DEL" })),
      );
      await node.sh("ip link delete cni0");
    }
  });

  test("the same pod twice is added once", async () => {
    await using node = await createSandbox();
    await addPods(node);
    const before = await node.snapshot();
    for (const id of ids.slice(0, 4)) {
      const attachment = call(id, ip("a", 1));
      const answers = await Promise.all(
        [1, 2, 3].map(async () => cni(node, { ...attachment, command: "ADD" })),
      );
      expect(answers.filter(({ code }) => code === 0)).toHaveLength(1);
      for (const { code, json } of answers)
        if (code !== 0) expect([101, 104]).toContain(json?.code);
      const prevResult = answers.find(({ code }) => code === 0)?.json;
      await cniOk(node, {
        ...attachment,
        conf: { ...attachment.conf, prevResult },
        command: "CHECK",
      });
      await cniOk(node, { ...attachment, command: "DEL" });
    }
    expect(leftovers(before, await node.snapshot())).toEqual([]);
  });

  test("ADD and DEL of one pod leave nothing that a DEL doesn't take", async () => {
    await using node = await createSandbox();
    await addPods(node);
    const before = await node.snapshot();
    for (const id of ids) {
      const attachment = call(id, ip("a", 1));
      const [added, deleted] = await Promise.all([
        cni(node, { ...attachment, command: "ADD" }),
        cni(node, { ...attachment, command: "DEL" }),
      ]);
      expect(deleted.code, deleted.stdout).toBe(0);
      if (added.code !== 0) expect([101, 105, 5]).toContain(added.json?.code);
      await cniOk(node, { ...attachment, command: "DEL" });
    }
    expect(leftovers(before, await node.snapshot())).toEqual([]);
  });

  test("a lock that is never let go of is waited for, then code 11", async () => {
    await using node = await createSandbox();
    await addPods(node);
    const locks = ["/var/lib/cni/networks/a/lock", "/run/flannel-cni/portmap/lock"];
    await node.sh(`
      mkdir -p /var/lib/cni/networks/a /run/flannel-cni/portmap
      for lock in ${locks.join(" ")}; do
        flock "$lock" sleep 60 >/dev/null 2>&1 </dev/null &
        while flock -n "$lock" true; do sleep 0.02; done
      done
    `);
    const portmap = {
      cniVersion: "1.0.0",
      name: "a",
      prevResult: { cniVersion: "1.0.0", ips: [{ address: "10.244.1.9/24" }] },
      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] },
    };
    await using secondNode = await createSandbox();
    await addPods(secondNode);
    await secondNode.sh(`
      mkdir -p /run/flannel-cni/locks
      flock /run/flannel-cni/locks/bridge-cni0.lock sleep 60 >/dev/null 2>&1 </dev/null &
      while flock -n /run/flannel-cni/locks/bridge-cni0.lock true; do sleep 0.02; done
    `);
    const answers = await Promise.all([
      cni(node, { ...call("pod1", ip("a", 1)), command: "ADD" }),
      cni(node, { ...call("pod2", portmap), plugin: "portmap", command: "ADD" }),
      cni(secondNode, { ...call("pod3", ip("a", 1)), command: "ADD" }),
    ]);
    for (const { json } of answers) {
      expect(json).toMatchObject({ code: 11, msg: expect.stringMatching(/process \d+ \(\w+\)/) });
    }
    for (const { links } of [node, secondNode])
      expect((await links()).filter(({ ifname }) => ifname.startsWith("veth"))).toEqual([]);
  });

  test("S1: no lock that any user can take keeps an ADD or a DEL waiting", async () => {
    await using node = await createSandbox();
    await addPods(node);
    const first = call("pod0", ip("a", 1));
    await cniOk(node, { ...first, command: "ADD" });
    // A user locks, for ever, whatever an ADD or a DEL opens and the user can open too.
    await node.sh(`
      cat > /run/user.sh <<'END'
      for path in $(find /run/flannel-cni /var/lib/cni 2>/dev/null) /proc/self/ns/net /run/netns/*; do
        for kind in -s -x; do flock $kind "$path" sleep 60 >/dev/null 2>&1 </dev/null & done
      done
END
      setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all sh /run/user.sh
      while flock -n -x /proc/self/ns/net true; do sleep 0.02; done
    `);
    for (const id of ["pod1", "pod2"]) {
      // The second pod needs a new bridge.
      const attachment = call(id, ip(id, 2, id));
      for (const command of ["ADD", "DEL"] as const) {
        // Whoever waits for a lock that is never let go of answers code 11.
        const { code, stdout } = await cni(node, { ...attachment, command });
        expect(code, stdout).toBe(0);
      }
    }
    const open = await node.sh("find /run/flannel-cni /var/lib/cni -name '*lock' -perm /077");
    expect(open, "locks that others than root can open").toBe("");
  });

  test("L10: a crowd over three bridges has no code 11", async () => {
    await using node = await createSandbox();
    const crowded = Array.from({ length: 40 }, (_, n) => `crowd${n}`);
    await node.sh(crowded.map((id) => `ip netns add ${id}`).join("\n"));
    const calls = crowded.map((id, n) => call(id, ip(`net${n % 3}`, n % 3, `br${n % 3}`)));
    const answers = await Promise.all(
      calls.map(async (attachment) => cni(node, { ...attachment, command: "ADD" })),
    );
    expect(answers.filter(({ code }) => code !== 0).map(({ stdout }) => stdout)).toEqual([]);
    const addresses = answers.flatMap(({ json }) => addressesIn(json ?? {}));
    expect(new Set(addresses).size).toBe(crowded.length);
  });

  test.runIf(soak)(
    "a burst of 200 pods, as after a boot, has no code 11",
    { timeout: 600_000 },
    async () => {
      await using node = await createSandbox();
      await writeSubnetEnv(node, [IPV4]);
      const names = Array.from({ length: 200 }, (_, n) => `burst${n}`);
      await node.addPods(names);
      const started = performance.now();
      const answers = await Promise.all(names.map(async (id, n) => addChain(node, id, n)));
      console.log(`burst: ${((performance.now() - started) / 1000).toFixed(1)} s`);
      expect(answers.filter(({ code }) => code !== 0).map(({ stdout }) => stdout)).toEqual([]);
      const addresses = answers.flatMap(({ json }) => addressesIn(json ?? {}));
      expect(new Set(addresses).size).toBe(names.length);
    },
  );

  test("L10: a bridge that is busy all the time keeps nobody from making another", async () => {
    await using node = await createSandbox();
    const many = Array.from({ length: isBun || soak ? 24 : 8 }, (_, n) => `busy${n}`);
    await node.sh(["pod0", ...many].map((id) => `ip netns add ${id}`).join("\n"));
    const over = new AbortController();
    const busy = many.map(async (id) => {
      while (!over.signal.aborted) {
        for (const command of ["ADD", "DEL"] as const) {
          await cniOk(node, { ...call(id, ip("a", 1)), command });
        }
      }
    });
    try {
      for (let round = 0; round < (isBun || soak ? 5 : 2); round++) {
        const attachment = call("pod0", ip("b", 2, "other0"));
        // Whoever waits for a lock too long answers code 11.
        const { code, stdout } = await cni(node, { ...attachment, command: "ADD" });
        expect(code, stdout).toBe(0);
        await cniOk(node, { ...attachment, command: "DEL" });
        await node.sh("ip link delete other0");
      }
    } finally {
      over.abort();
      await Promise.all(busy);
    }
  });
});

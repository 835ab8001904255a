/** Our host-local and the reference's on the same directory: what one writes, the other reads. */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  referenceDir,
  type CniJson,
  type Conf,
  type Sandbox,
} from "../helpers/cni.ts";
import { DIRECTIONS } from "../helpers/directions.ts";
import { hostLocalConf } from "../helpers/network.ts";
import { filesIn } from "../helpers/state.ts";

const ours = binDir();
const reference = referenceDir();
const directory = "/var/lib/cni/networks/net1";

type Step = readonly ["ADD" | "DEL", containerId: string, args?: string];

/** Container ids and verbs, as on a node within some hours. */
const HISTORIES: Readonly<
  Record<string, { readonly ipam: Conf; readonly steps: readonly Step[] }>
> = {
  "pods come and go": {
    ipam: { ranges: [[{ subnet: "10.244.1.0/24" }], [{ subnet: "fd00:10:244:1::/64" }]] },
    steps: [
      ["ADD", "a"],
      ["ADD", "b"],
      ["DEL", "a"],
      ["ADD", "c"],
      ["DEL", "nobody"],
      ["ADD", "a"],
      ["DEL", "b"],
      ["DEL", "b"],
      ["ADD", "d"],
    ],
  },
  "an address is asked for": {
    ipam: { ranges: [[{ subnet: "10.244.1.0/24" }]] },
    steps: [
      ["ADD", "a"],
      ["ADD", "b", "IP=10.244.1.40"],
      ["ADD", "c"],
      ["DEL", "b"],
      ["ADD", "d"],
    ],
  },
  "two ranges in a set, used up": {
    ipam: {
      ranges: [[{ subnet: "10.0.0.0/29", rangeStart: "10.0.0.5" }, { subnet: "10.0.1.0/30" }]],
    },
    steps: [
      ["ADD", "a"],
      ["ADD", "b"],
      ["ADD", "c"],
      ["DEL", "b"],
      ["ADD", "d"],
    ],
  },
  "a gateway in the middle": {
    ipam: { ranges: [[{ subnet: "10.0.0.0/28", gateway: "10.0.0.3" }]] },
    steps: [
      ["ADD", "a"],
      ["ADD", "b"],
      ["ADD", "c"],
    ],
  },
};

async function play(bin: string, name: string) {
  const { ipam, steps } = HISTORIES[name] ?? { ipam: {}, steps: [] };
  await using sandbox = await createSandbox();
  await sandbox.addPod("pod1");
  const results: (CniJson | undefined)[] = [];
  for (const [command, containerId, args = ""] of steps) {
    const call = { bin, plugin: "host-local", command, containerId, args } as const;
    results.push((await cni(sandbox, { ...call, conf: hostLocalConf(ipam) })).json);
  }
  return { results, files: await filesIn(sandbox, directory), modes: await modesIn(sandbox) };
}

async function modesIn(sandbox: Sandbox): Promise<Record<string, string>> {
  const paths = [
    directory,
    ...(await sandbox.list(directory)).map((name) => `${directory}/${name}`),
  ];
  const modes = paths.map(
    async (path): Promise<[string, string]> => [path, (await sandbox.mode(path)).toString(8)],
  );
  return Object.fromEntries(await Promise.all(modes));
}

/** Newer references let root alone read what they write. */
function forRootAlone(modes: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(modes).map(([path, mode]) => [path, mode === "644" ? "600" : mode]),
  );
}

/** Newer references leave out what is empty. */
function withoutEmptyDns(result: CniJson | undefined): CniJson | undefined {
  if (result === undefined) return undefined;
  const { dns = {}, ...rest } = result as CniJson & { readonly dns?: object };
  return Object.keys(dns).length === 0 ? rest : result;
}

describe.concurrent("host-local and the reference", () => {
  testSome(Object.keys(HISTORIES))(
    "give the same addresses and write the same files: %s",
    async (name) => {
      const [played, expected] = await Promise.all([play(ours, name), play(reference, name)]);
      expect(played.results.map(withoutEmptyDns)).toEqual(expected.results.map(withoutEmptyDns));
      expect(played.files).toEqual(expected.files);
      // S1: whoever can open the lock can keep it.
      expect(played.modes).toEqual({
        ...forRootAlone(expected.modes),
        [`${directory}/lock`]: "600",
      });
    },
  );

  const withCheck = DIRECTIONS.flatMap((direction) =>
    ["0.4.0", "1.0.0"].map((cniVersion) => ({ ...direction, cniVersion })),
  );
  testSome(withCheck)(
    "ADD by $first, CHECK and DEL by $second, an interface at a time (CNI $cniVersion)",
    async ({ bins: [first, second], cniVersion }) => {
      const conf = hostLocalConf(
        { ranges: [[{ subnet: "10.244.1.0/24" }], [{ subnet: "fd00:10:244:1::/64" }]] },
        { cniVersion },
      );
      await using sandbox = await createSandbox();
      await sandbox.addPod("pod1");
      const call = { plugin: "host-local", conf } as const;
      const prevResult = await cniOk(sandbox, { ...call, bin: first, command: "ADD" });
      const kept = { ...call, conf: { ...conf, prevResult } };
      await cniOk(sandbox, { ...kept, bin: second, command: "CHECK" });
      await cniOk(sandbox, { ...call, bin: second, command: "ADD", ifname: "net1" });
      await cniOk(sandbox, { ...kept, bin: second, command: "DEL" });
      for (const bin of [first, second]) {
        expect((await cni(sandbox, { ...kept, bin, command: "CHECK" })).code).toBe(1);
      }
      const left = (await sandbox.list(directory)).filter((name) => /^(10|fd)/.test(name));
      expect(left, "the other interface's").toEqual(["10.244.1.3", "fd00:10:244:1::3"]);
      await cniOk(sandbox, { ...call, bin: first, command: "DEL", ifname: "net1" });
      expect(await sandbox.list(directory)).toEqual([
        "last_reserved_ip.0",
        "last_reserved_ip.1",
        "lock",
      ]);
    },
  );

  test.for(DIRECTIONS)("ADD by $first, DEL by $second", async ({ bins: [first, second] }) => {
    const conf = hostLocalConf({ ranges: [[{ subnet: "10.244.1.0/24" }]] });
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const call = { plugin: "host-local", conf } as const;
    await cniOk(sandbox, { ...call, bin: first, command: "ADD" });
    const twice = await cni(sandbox, { ...call, bin: second, command: "ADD" });
    expect(twice.code, "the other knows the reservation").toBe(1);
    await cniOk(sandbox, { ...call, bin: second, command: "DEL" });
    expect(await sandbox.list(directory)).toEqual(["last_reserved_ip.0", "lock"]);
    const next = await cniOk(sandbox, { ...call, bin: second, command: "ADD" });
    expect(next.ips?.[0]?.address).toBe("10.244.1.3/24");
  });

  test("H1 work on each other's files across a reboot", async () => {
    const conf = hostLocalConf({ ranges: [[{ subnet: "10.0.0.0/29" }]] });
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const call = { plugin: "host-local", conf } as const;
    const add = async (bin: string, containerId: string) =>
      cni(sandbox, { ...call, bin, command: "ADD", containerId });
    const results = new Map<string, CniJson | undefined>();
    for (const name of ["a", "b", "c", "d", "e"]) {
      results.set(name, (await add(name === "c" ? reference : ours, name)).json);
    }
    // The reference's CHECK and DEL accept a reservation with a boot mark.
    const checked = { ...call, conf: { ...conf, prevResult: results.get("a") } };
    const check = await cni(sandbox, {
      ...checked,
      bin: reference,
      command: "CHECK",
      containerId: "a",
    });
    expect(check.code).toBe(0);
    await cniOk(sandbox, { ...call, bin: reference, command: "DEL", containerId: "b" });
    expect((await add(ours, "b")).json?.ips?.[0]?.address).toBe("10.0.0.3/29");
    expect((await add(ours, "f")).code).toBe(1);
    await sandbox.sh(`
      cat /proc/sys/kernel/random/uuid > /run/boot_id
      mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
    `);
    // The reference does not free them, and its own reservation stays.
    expect((await add(reference, "f")).code).toBe(1);
    const given: (string | undefined)[] = [];
    for (const name of ["f", "g", "h", "i"]) {
      given.push((await add(ours, name)).json?.ips?.[0]?.address);
    }
    expect(given).toEqual(["10.0.0.5/29", "10.0.0.6/29", "10.0.0.2/29", "10.0.0.3/29"]);
    expect(await sandbox.readFile(`${directory}/10.0.0.4`)).toBe("c\r\neth0");
    expect((await add(ours, "j")).code).toBe(1);
  });

  test("find what the other has made and released in between", async () => {
    const conf = hostLocalConf({ ranges: [[{ subnet: "10.244.1.0/24" }]] });
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const call = { plugin: "host-local", conf } as const;
    // Enough for an index.
    await sandbox.sh(`
      mkdir -p ${directory}
      for n in $(seq 1 60); do printf 'other%s\\r\\neth0' $n > ${directory}/192.0.2.$n; done
    `);
    const addressOf = new Map<string, string>();
    const used: string[] = [];
    // Each container comes and goes, by either plugin in turn, while others stay.
    for (let n = 0; n < 24; n++) {
      const containerId = `pod${n % 7}`;
      const [bin, otherBin] = n % 3 === 0 ? [ours, reference] : [reference, ours];
      if (addressOf.has(containerId)) {
        const twice = await cni(sandbox, { ...call, bin, command: "ADD", containerId });
        expect(twice.code, `${containerId} has an address`).toBe(1);
        await cniOk(sandbox, { ...call, bin: otherBin, command: "DEL", containerId });
        addressOf.delete(containerId);
      } else {
        const result = await cniOk(sandbox, { ...call, bin, command: "ADD", containerId });
        const address = result.ips?.[0]?.address.split("/")[0] ?? "";
        addressOf.set(containerId, address);
        used.push(address);
      }
      const files = (await sandbox.list(directory)).filter((name) => name.startsWith("10."));
      expect(files.toSorted()).toEqual([...addressOf.values()].toSorted());
    }
    expect(new Set(used).size).toBe(used.length);
  });

  test("exclude each other while they write", async () => {
    const conf = hostLocalConf({ ranges: [[{ subnet: "10.244.1.0/24" }]] });
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const names = Array.from({ length: 16 }, (_, n) => `pod${n}`);
    const results = await Promise.all(
      names.map(async (containerId, n) => {
        const bin = n % 2 === 0 ? ours : reference;
        return cniOk(sandbox, { bin, plugin: "host-local", command: "ADD", containerId, conf });
      }),
    );
    expect(new Set(results.map(({ ips }) => ips?.[0]?.address)).size).toBe(names.length);
  });
});

/** The host-local IPAM plugin: the addresses that it gives, and its files. */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import { binDir, cni, cniOk, createSandbox, type Conf, type Sandbox } from "../helpers/cni.ts";
import { addressesIn, hostLocalConf } from "../helpers/network.ts";
import { expectError, filesIn } from "../helpers/state.ts";

const bin = binDir();
const call = { bin, plugin: "host-local" } as const;
const directory = "/var/lib/cni/networks/net1";
const dualStack = {
  ranges: [[{ subnet: "10.244.1.0/24" }], [{ subnet: "fd00:10:244:1::/64" }]],
};

/** A node with one pod. Other container ids are only names for host-local. */
async function node(): Promise<Sandbox> {
  const sandbox = await createSandbox();
  await sandbox.addPod("pod1");
  return sandbox;
}

async function add(sandbox: Sandbox, containerId: string, conf: Conf, more = {}) {
  return cni(sandbox, { ...call, command: "ADD", containerId, conf, ...more });
}

/** Adds a container and returns the addresses that it got. */
async function addresses(sandbox: Sandbox, containerId: string, conf: Conf, more = {}) {
  return addressesIn(await cniOk(sandbox, { ...call, command: "ADD", containerId, conf, ...more }));
}

async function del(sandbox: Sandbox, containerId: string, conf: Conf, more = {}): Promise<void> {
  await cniOk(sandbox, { ...call, command: "DEL", containerId, conf, ...more });
}

describe.concurrent("host-local", () => {
  test("keeps a file for each address, as the reference does", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf(dualStack);
    const result = await cniOk(sandbox, { ...call, command: "ADD", conf });
    expect(result).toEqual({
      cniVersion: "1.0.0",
      ips: [
        { address: "10.244.1.2/24", gateway: "10.244.1.1" },
        { address: "fd00:10:244:1::2/64", gateway: "fd00:10:244:1::1" },
      ],
      dns: {},
    });
    const reservations = { "10.244.1.2": "pod1\r\neth0", "fd00:10:244:1::2": "pod1\r\neth0" };
    const rest = {
      "last_reserved_ip.0": "10.244.1.2",
      "last_reserved_ip.1": "fd00:10:244:1::2",
      lock: expect.any(String),
    };
    expect(await filesIn(sandbox, directory)).toEqual({ ...reservations, ...rest });
    await del(sandbox, "pod1", conf);
    await del(sandbox, "pod1", conf);
    expect(await filesIn(sandbox, directory)).toEqual(rest);
  });

  test("in the data directory that the config names", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf({ ...dualStack, dataDir: "/run/ipam" });
    await addresses(sandbox, "pod1", conf);
    expect(await sandbox.readFile("/run/ipam/net1/10.244.1.2")).toBe("pod1\r\neth0");
    expect(await sandbox.exists("/var/lib/cni/networks")).toBe(false);
  });

  test("refuses a second address to one interface, and gives one to another interface", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf(dualStack);
    await addresses(sandbox, "pod1", conf);
    expectError(await add(sandbox, "pod1", conf), 104);
    const second = await addresses(sandbox, "pod1", conf, { ifname: "net1" });
    expect(second).toEqual(["10.244.1.3", "fd00:10:244:1::3"]);
    await del(sandbox, "pod1", conf, { ifname: "net1" });
    expect(await sandbox.list(directory)).toContain("10.244.1.2");
    expect(await sandbox.list(directory)).not.toContain("10.244.1.3");
  });

  test("goes on after the last address that it gave, and comes round", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf({ ranges: [[{ subnet: "10.0.0.0/29" }]] });
    const given: string[] = [];
    for (let n = 0; n < 8; n++) {
      given.push(...(await addresses(sandbox, `pod${n}`, conf)));
      await del(sandbox, `pod${n}`, conf);
    }
    const round = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"];
    expect(given).toEqual([...round, ...round.slice(0, 3)]);
  });

  test("says when a range is full, and uses what is released", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf({
      ranges: [[{ subnet: "10.0.0.0/30" }, { subnet: "10.0.1.0/30" }]],
    });
    expect(await addresses(sandbox, "a", conf)).toEqual(["10.0.0.2"]);
    expect(await addresses(sandbox, "b", conf)).toEqual(["10.0.1.2"]);
    const before = await filesIn(sandbox, directory);
    const answer = await add(sandbox, "c", conf);
    expectError(answer, 103);
    expect(answer.json?.msg).toContain("10.0.0.");
    expect(await filesIn(sandbox, directory)).toEqual(before);
    await del(sandbox, "a", conf);
    expect(await addresses(sandbox, "c", conf)).toEqual(["10.0.0.2"]);
  });

  test("gives all or nothing when the second set is full", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf({
      ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "10.0.0.0/30" }]],
    });
    await addresses(sandbox, "a", conf);
    expectError(await add(sandbox, "b", conf), 103);
    const reserved = (await sandbox.list(directory)).filter((name) => name.startsWith("10."));
    expect(reserved).toEqual(["10.0.0.2", "10.1.0.2"]);
  });

  const ranges = [
    {
      what: "never gives a gateway inside of the range",
      range: { subnet: "10.0.0.0/29", gateway: "10.0.0.4" },
      expected: ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"],
    },
    {
      what: "keeps to rangeStart and rangeEnd",
      range: { subnet: "10.0.0.0/24", rangeStart: "10.0.0.20", rangeEnd: "10.0.0.22" },
      expected: ["10.0.0.20", "10.0.0.21", "10.0.0.22"],
    },
    {
      what: "gives an IPv6 range's last address",
      range: { subnet: "fd00::/125" },
      expected: ["fd00::2", "fd00::3", "fd00::4", "fd00::5", "fd00::6", "fd00::7"],
    },
  ];
  testSome(ranges)("$what", async ({ range, expected }) => {
    await using sandbox = await node();
    const conf = hostLocalConf({ ranges: [[range]] });
    const given: string[] = [];
    for (const n of expected.keys()) given.push(...(await addresses(sandbox, `pod${n}`, conf)));
    expect(given).toEqual(expected);
    expectError(await add(sandbox, "one-more", conf), 103);
  });

  test("understands the old form with one subnet", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf({
      subnet: "10.5.0.0/16",
      rangeStart: "10.5.1.1",
      gateway: "10.5.0.9",
    });
    expect((await add(sandbox, "pod1", conf)).json?.ips).toEqual([
      { address: "10.5.1.1/16", gateway: "10.5.0.9" },
    ]);
  });

  test("hands on routes and the content of resolvConf", async () => {
    await using sandbox = await node();
    await sandbox.writeFile(
      "/run/resolv.conf",
      "# made by hand\nnameserver 10.96.0.10\nnameserver fd00::a\nsearch a.example b.example\ndomain example\noptions ndots:5 timeout:2\n",
    );
    const routes = [{ dst: "0.0.0.0/0" }, { dst: "192.168.0.0/16", gw: "10.244.1.9" }];
    const conf = hostLocalConf({ ...dualStack, routes, resolvConf: "/run/resolv.conf" });
    const { json } = await add(sandbox, "pod1", conf);
    expect(json?.routes).toEqual(routes);
    expect(json?.dns).toEqual({
      nameservers: ["10.96.0.10", "fd00::a"],
      domain: "example",
      search: ["a.example", "b.example"],
      options: ["ndots:5", "timeout:2"],
    });
  });

  const requests = [
    { how: "CNI_ARGS", more: {}, args: "IgnoreUnknown=1;IP=10.244.1.77" },
    { how: "runtimeConfig", more: { runtimeConfig: { ips: ["10.244.1.77/24"] } }, args: "" },
    { how: "args.cni", more: { args: { cni: { ips: ["10.244.1.77"] } } }, args: "" },
  ];
  testSome(requests)("gives the address that is asked for in $how", async ({ more, args }) => {
    await using sandbox = await node();
    const conf = hostLocalConf(dualStack, more);
    expect(await addresses(sandbox, "pod1", conf, { args })).toEqual([
      "10.244.1.77",
      "fd00:10:244:1::2",
    ]);
    const before = await filesIn(sandbox, directory);
    const taken = await add(sandbox, "pod2", conf, { args });
    expect(taken.code).toBe(1);
    expect(taken.json?.msg).toContain("10.244.1.77");
    expect(await filesIn(sandbox, directory)).toMatchObject(before);
    expect(await sandbox.list(directory)).not.toContain("fd00:10:244:1::3");
  });

  test.for(["10.244.1.1", "10.9.9.9"])("refuses to give %s", async (address) => {
    await using sandbox = await node();
    const answer = await add(sandbox, "pod1", hostLocalConf(dualStack), { args: `IP=${address}` });
    expect(answer.code).toBe(1);
    expect(answer.json?.msg).toContain(address);
    const files = await sandbox.list(directory);
    expect(files.filter((name) => /^(10|fd00)/.test(name))).toEqual([]);
  });

  test("twenty at once get twenty addresses", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf(dualStack);
    const names = Array.from({ length: 20 }, (_, n) => `pod${n}`);
    const given = await Promise.all(names.map(async (name) => addresses(sandbox, name, conf)));
    expect(new Set(given.flat()).size).toBe(40);
    await Promise.all(names.map(async (name) => del(sandbox, name, conf)));
    expect(await sandbox.list(directory)).toEqual([
      "last_reserved_ip.0",
      "last_reserved_ip.1",
      "lock",
    ]);
  });

  test("CHECK finds the reservation, or says that there is none", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf(dualStack);
    const prevResult = await cniOk(sandbox, { ...call, command: "ADD", conf });
    const check = { ...call, command: "CHECK", conf: { ...conf, prevResult } } as const;
    expect(await cni(sandbox, check)).toMatchObject({ code: 0, stdout: "" });
    await del(sandbox, "pod1", conf);
    expectError(await cni(sandbox, check), 105);
  });

  test("GC releases all but the valid attachments' addresses", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf(dualStack, { cniVersion: "1.1.0" });
    for (const name of ["a", "b", "c"]) await addresses(sandbox, name, conf);
    await addresses(sandbox, "a", conf, { ifname: "net1" });
    const valid = [{ containerID: "a", ifname: "eth0" }];
    await cniOk(sandbox, {
      ...call,
      command: "GC",
      conf: { ...conf, "cni.dev/valid-attachments": valid },
    });
    const reserved = Object.keys(await filesIn(sandbox, directory));
    expect(reserved).toEqual([
      "10.244.1.2",
      "fd00:10:244:1::2",
      "last_reserved_ip.0",
      "last_reserved_ip.1",
      "lock",
    ]);
  });

  const wrong: Readonly<Record<string, Conf>> = {
    "no range": {},
    "an empty list of ranges": { ranges: [] },
    "an empty set": { ranges: [[]] },
    "a subnet without room": { ranges: [[{ subnet: "10.0.0.0/31" }]] },
    "a start outside of the subnet": {
      ranges: [[{ subnet: "10.0.0.0/24", rangeStart: "10.0.1.1" }]],
    },
    "an end outside of the subnet": { ranges: [[{ subnet: "10.0.0.0/24", rangeEnd: "10.0.1.1" }]] },
    "an end before the start": {
      ranges: [[{ subnet: "10.0.0.0/24", rangeStart: "10.0.0.9", rangeEnd: "10.0.0.8" }]],
    },
    "two ranges that overlap": {
      ranges: [[{ subnet: "10.0.0.0/16" }], [{ subnet: "10.0.5.0/24" }]],
    },
    "both families in one set": { ranges: [[{ subnet: "10.0.0.0/24" }, { subnet: "fd00::/64" }]] },
    "a gateway that is no address": { ranges: [[{ subnet: "10.0.0.0/24", gateway: "10.0.0" }]] },
    "a route that is no CIDR": { ...dualStack, routes: [{ dst: "10.0.0.0" }] },
  };
  testSome(Object.keys(wrong))("refuses %s", async (what) => {
    await using sandbox = await node();
    const before = await sandbox.snapshot();
    expectError(await add(sandbox, "pod1", hostLocalConf(wrong[what] ?? {})), 7);
    expect(await sandbox.snapshot()).toEqual(before);
  });
});

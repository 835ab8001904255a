/** Each option that docs/plugins lists for host-local, by the addresses that are given. */
import { describe, expect, test } from "vitest";
import {
  binDir,
  cniOk,
  createSandbox,
  type CniJson,
  type Conf,
  type Sandbox,
} from "../../helpers/cni.ts";
import { addressesIn, hostLocalConf } from "../../helpers/network.ts";

const call = { bin: binDir(), plugin: "host-local" } as const;
const subnet = "10.5.0.0/24";

interface Asked extends Conf {
  /** How many containers ask, one after the other. */
  readonly count?: number;
  readonly cniArgs?: string;
}

/** The addresses that containers get on a new node. */
async function containers(ipam: Conf, asked: Asked = {}) {
  await using sandbox = await createSandbox();
  return await ask(sandbox, ipam, asked);
}

async function ask(sandbox: Sandbox, ipam: Conf, { count = 1, cniArgs = "", ...more }: Asked = {}) {
  const conf = hostLocalConf(ipam, more);
  const results: CniJson[] = [];
  for (let n = 0; n < count; n++) {
    const container = { containerId: `c${n}`, args: cniArgs };
    results.push(await cniOk(sandbox, { ...call, ...container, command: "ADD", conf }));
  }
  return { given: results.map(addressesIn), results };
}

describe.concurrent("the documented options of host-local:", () => {
  test("ipam.ranges", async () => {
    const ranges = [
      [{ subnet: "10.6.0.0/30" }, { subnet: "10.7.0.0/24", rangeStart: "10.7.0.9" }],
      [{ subnet: "fd00:5::/64" }],
    ];
    const { given } = await containers({ ranges }, { count: 2 });
    expect(given).toEqual([
      ["10.6.0.2", "fd00:5::2"],
      ["10.7.0.9", "fd00:5::3"],
    ]);
  });
  test("ipam.subnet, rangeStart, rangeEnd, gateway", async () => {
    const old = { subnet, rangeStart: "10.5.0.30", rangeEnd: "10.5.0.31", gateway: "10.5.0.254" };
    const { given, results } = await containers(
      { ...old, ranges: [[{ subnet: "10.6.0.0/24" }]] },
      { count: 2 },
    );
    expect(given).toEqual([
      ["10.5.0.30", "10.6.0.2"],
      ["10.5.0.31", "10.6.0.3"],
    ]);
    expect(results[0]?.ips?.[0]?.gateway).toBe("10.5.0.254");
  });
  test("ranges[][].subnet", async () => {
    const { results } = await containers({ ranges: [[{ subnet }]] });
    expect(results[0]?.ips).toEqual([{ address: "10.5.0.2/24", gateway: "10.5.0.1" }]);
  });
  test("ranges[][].rangeStart, rangeEnd", async () => {
    const range = { subnet, rangeStart: "10.5.0.20", rangeEnd: "10.5.0.21" };
    const { given } = await containers({ ranges: [[range]] }, { count: 2 });
    expect(given.flat()).toEqual(["10.5.0.20", "10.5.0.21"]);
  });
  test("ranges[][].gateway", async () => {
    const range = { subnet, gateway: "10.5.0.2" };
    const { given, results } = await containers({ ranges: [[range]] }, { count: 2 });
    expect(given.flat()).toEqual(["10.5.0.1", "10.5.0.3"]);
    expect(results[0]?.ips?.[0]?.gateway).toBe("10.5.0.2");
  });
  test("ipam.routes", async () => {
    const routes = [{ dst: "0.0.0.0/0" }, { dst: "198.51.100.0/24", gw: "10.5.0.77" }];
    const { results } = await containers({ ranges: [[{ subnet }]], routes });
    expect(results[0]?.routes).toEqual(routes);
  });
  test("ipam.resolvConf", async () => {
    await using sandbox = await createSandbox();
    await sandbox.writeFile("/run/resolv.conf", "nameserver 10.96.0.10\nsearch a.example\n");
    const ipam = { ranges: [[{ subnet }]], resolvConf: "/run/resolv.conf" };
    const { results } = await ask(sandbox, ipam);
    expect(results[0]?.dns).toEqual({ nameservers: ["10.96.0.10"], search: ["a.example"] });
  });
  test("ipam.dataDir", async () => {
    await using sandbox = await createSandbox();
    await ask(sandbox, { ranges: [[{ subnet }]], dataDir: "/var/lib/cni/ipam" });
    expect(await sandbox.list("/var/lib/cni/ipam/net1")).toContain("10.5.0.2");
    expect(await sandbox.exists("/var/lib/cni/networks")).toBe(false);
  });
  test("runtimeConfig.ipRanges", async () => {
    const ipRanges = [[{ subnet: "10.9.0.0/24" }]];
    const { given } = await containers({ ranges: [[{ subnet }]] }, { runtimeConfig: { ipRanges } });
    expect(given).toEqual([["10.9.0.2", "10.5.0.2"]]);
  });
  test("runtimeConfig.ips, args.cni.ips, IP in CNI_ARGS", async () => {
    const ranges = [[{ subnet }]];
    const ways = await Promise.all([
      containers({ ranges }),
      containers({ ranges }, { runtimeConfig: { ips: ["10.5.0.50/24"] } }),
      containers({ ranges }, { args: { cni: { ips: ["10.5.0.51"] } } }),
      containers({ ranges }, { cniArgs: "IP=10.5.0.52" }),
    ]);
    const given = ways.flatMap((way) => way.given.flat());
    expect(given).toEqual(["10.5.0.2", "10.5.0.50", "10.5.0.51", "10.5.0.52"]);
  });
});

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { EarlierBackends } from "../../../../daemons/flanneld/earlier_backends.ts";
import type { EarlierLease } from "../../../../daemons/flanneld/leases/lease_manager.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";
import type { Lease } from "../../../../shared/flannel/lease.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";

let folder: string;
let path: string;
let messages: string[];
let ended: number;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "backends-"));
  path = join(folder, "subnet.env.backends");
  messages = [];
  ended = 0;
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true });
});

const say = (text: string): void => {
  messages.push(text);
};

async function find(backend: JsonObject & { Type: string }, earlier?: EarlierLease) {
  const conf = {
    ...{ enableIpv4: true, enableIpv6: false, enableNftables: false },
    ...{ network: parseCidr("10.244.0.0/16"), ipv6Network: undefined },
    ...{ subnets: undefined, ipv6Subnets: undefined, backendType: backend.Type, backend },
  };
  return EarlierBackends.find({
    wireguardKeyFile: join(folder, "wgkey"),
    ...{ sys, conf, path, earlier, log: { debug: say, info: say, warn: say, error: say } },
    onEnd: () => {
      ended++;
    },
  });
}

const typesOf = ({ backends }: EarlierBackends) => backends.map(({ type }) => type);
const leasesOf = (...types: readonly string[]): ReadonlyMap<string, Lease> =>
  new Map(
    types.map((backendType, at) => [
      `n${at}`,
      {
        ...{ id: `n${at}`, subnet: undefined, subnetV6: undefined, since: 0 },
        attributes: {
          ...{ publicIp: undefined, publicIpv6: undefined, backendType },
          ...{ backendData: undefined, backendV6Data: undefined },
        },
      },
    ]),
  );

describe("what a node has had before", () => {
  it("is remembered, for root alone", async () => {
    expect(typesOf(await find({ Type: "vxlan", VNI: 7 }))).toEqual([]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const before = await find({ Type: "host-gw" });
    expect(typesOf(before)).toEqual(["vxlan"]);
    expect(before.optionsOf("vxlan")).toEqual({ Type: "vxlan", VNI: 7 });
    expect(typesOf(await find({ Type: "ipip" }))).toEqual(["host-gw", "vxlan"]);
    // Back again before all have changed.
    expect(typesOf(await find({ Type: "vxlan" }))).toEqual(["ipip", "host-gw"]);
  });

  it("is nothing where only options are others, or where peers cannot tell them apart", async () => {
    await find({ Type: "vxlan", VNI: 7 });
    expect(typesOf(await find({ Type: "vxlan", VNI: 8 }))).toEqual([]);
  });

  it.each([
    ["vxlan", { VNI: 9, VtepMAC: "x" }, ["vxlan"], { Type: "vxlan", VNI: 9 }],
    ["ipip", undefined, ["ipip"], undefined],
    ["", undefined, [], undefined],
    ["extension", "x", [], undefined],
    ["unheard-of", undefined, [], undefined],
  ])("is what it has published as %j, where it remembers nothing", async (...row) => {
    const [backendType, backendData, types, options] = row;
    const before = await find(
      { Type: "host-gw" },
      { backendType, backendData, backendV6Data: undefined },
    );
    expect(typesOf(before)).toEqual(types);
    if (options !== undefined) expect(before.optionsOf("vxlan")).toEqual(options);
  });

  it.each(["", "{", "{}", "[1, {}]", '[{"Type": 5}, {"Type": "ipip"}]'])(
    "is read from a damaged file as far as possible: %j",
    async (text) => {
      writeFileSync(path, text);
      expect(typesOf(await find({ Type: "host-gw" }))).toEqual(
        text.includes("ipip") ? ["ipip"] : [],
      );
    },
  );

  it("that this build does not have is told, and left out", async () => {
    writeFileSync(path, '[{"Type": "udp"}]');
    expect(typesOf(await find({ Type: "vxlan" }))).toEqual([]);
    expect(messages.join()).toContain(
      "Peers that still have the backend udp are not reached by it",
    );
  });
});

describe("a backend of before", () => {
  it("ends when no peer has had it for ten seconds", async () => {
    await find({ Type: "vxlan" });
    const before = await find({ Type: "host-gw" });
    before.notice(leasesOf("host-gw"), false);
    vi.advanceTimersByTime(20_000);
    before.notice(leasesOf("host-gw", "vxlan"), true);
    vi.advanceTimersByTime(20_000);
    before.notice(leasesOf("host-gw"), true);
    vi.advanceTimersByTime(9000);
    before.notice(leasesOf("vxlan"), true);
    vi.advanceTimersByTime(9000);
    expect([typesOf(before), ended, before.has("vxlan")]).toEqual([["vxlan"], 0, true]);
    before.notice(leasesOf("host-gw"), true);
    vi.advanceTimersByTime(10_000);
    expect([typesOf(before), ended, before.has("vxlan")]).toEqual([[], 1, false]);
    expect(JSON.parse(readFileSync(path, "utf8"))).toEqual([{ Type: "host-gw" }]);
    expect(messages.at(-1)).toBe("No peer has the backend vxlan any more.");
  });

  it("stays for the next start where flanneld ends first", async () => {
    await find({ Type: "vxlan" });
    const before = await find({ Type: "host-gw" });
    before.notice(leasesOf(), true);
    before.close();
    vi.advanceTimersByTime(20_000);
    expect(ended).toBe(0);
    expect(typesOf(await find({ Type: "host-gw" }))).toEqual(["vxlan"]);
  });
});

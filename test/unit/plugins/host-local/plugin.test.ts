/** host-local's verbs, except ADD, which is in add.test.ts. */
import { writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import { Host, dual, error, small } from "./host.ts";

describe("DEL", () => {
  it("releases what the interface has, in whatever state the ranges are", async () => {
    using host = new Host();
    await host.add();
    await host.add({ ifname: "eth1" });
    await host.call("DEL", { ipam: { ranges: "nonsense" } });
    expect(host.reserved()).toEqual(["10.0.0.3", "fd00::3"]);
    expect(host.warnings).toEqual([
      'Cannot use ipam.ranges in the host-local config: it must be a list (got "nonsense"). DEL goes on without it.',
    ]);
  });

  it("does nothing a second time, not even wait for the lock", async () => {
    using host = new Host();
    await host.add();
    await host.call("DEL");
    host.node.taken.length = 0;
    await host.call("DEL");
    expect(host.node.taken).toEqual([]);
    expect(host.reserved()).toEqual([]);
  });

  it("makes no folder", async () => {
    using host = new Host();
    await host.call("DEL");
    expect(host.files()).toBeUndefined();
  });

  it("releases files without interface only if there are none with it", async () => {
    using host = new Host();
    host.put("10.0.0.2", "a");
    host.put("10.0.0.3", "a\r\neth0");
    await host.call("DEL");
    expect(host.reserved()).toEqual(["10.0.0.2"]);
    await host.call("DEL");
    expect(host.reserved()).toEqual([]);
  });
});

describe("CHECK", () => {
  it("is content with what ADD has made, and with addresses of other plugins", async () => {
    using host = new Host();
    await host.add();
    await expect(host.check("10.0.0.2/24", "fd00::2/64", "192.0.2.7/24")).resolves.toBeUndefined();
  });

  it("misses the reservation", async () => {
    using host = new Host();
    await expect(host.check("10.0.0.2/24")).rejects.toMatchObject(
      error(Code.CheckFailed, "/net1 must have any address reserved for eth0"),
    );
  });

  it("misses one that is another's", async () => {
    using host = new Host();
    await host.addAll(["a", "b"], dual);
    await expect(host.check("10.0.0.2/24", "fd00::3/64")).rejects.toMatchObject(
      error(Code.CheckFailed, "/net1 must have fd00::3 reserved for eth0"),
    );
  });
});

describe("GC", () => {
  it("H3 releases what belongs to no valid attachment, and touches nothing else", async () => {
    using host = new Host();
    await host.addAll(["a", "b"], dual);
    await host.add({ ifname: "eth1" });
    for (const name of ["lock", "notes.txt", "10.0.0"]) host.put(name, "b\r\neth0");
    for (const name of ["10.0.0.100", "10.0.0.101"]) host.put(name, "old");
    host.put("10.0.0.102", "");
    host.put("10.0.0.103", "gone");
    host.put(".10.0.0.9.4711.tmp", "b\r\neth0");
    await host.gc(["a", "eth0"], ["old", "eth7"]);
    const addresses = ["10.0.0.100", "10.0.0.101", "10.0.0.2", "fd00::2"];
    expect(host.reserved()).toEqual([...addresses, "10.0.0", "notes.txt"].toSorted());
    expect(host.text("lock")).toBe("b\r\neth0");
    expect(host.files()).toContain("last_reserved_ip.0");
  });

  it("does nothing where nothing was ever reserved", async () => {
    using host = new Host();
    await host.gc();
    expect(host.node.taken).toEqual([]);
    expect(host.files()).toBeUndefined();
  });
});

describe("STATUS", () => {
  it("is well before the first ADD, and makes no folder", async () => {
    using host = new Host();
    await host.call("STATUS");
    expect(host.files()).toBeUndefined();
  });

  it("says which set is full", async () => {
    using host = new Host();
    await host.addAll(["a", "b", "c", "d"], small);
    await host.call("STATUS", { ipam: small });
    await host.addAll(["e"], small);
    await expect(host.call("STATUS", { ipam: small })).rejects.toMatchObject(
      error(Code.LimitedConnectivity, "range set 0 (10.0.0.1-10.0.0.6): all 5 are reserved"),
    );
  });

  it("H2 knows that blank files, and a gateway's, take nothing", async () => {
    using host = new Host();
    await host.addAll(["a", "b", "c", "d"], small);
    host.put("10.0.0.6", "");
    host.put("10.0.0.1", "x\r\neth0");
    await expect(host.call("STATUS", { ipam: small })).resolves.toBeUndefined();
  });

  it("says that the folder cannot be written to", async () => {
    using host = new Host();
    const dataDir = `${host.dataDir}/file`;
    writeFileSync(dataDir, "");
    await expect(host.call("STATUS", { ipam: { ...dual, dataDir } })).rejects.toMatchObject(
      error(Code.PluginNotAvailable, dataDir),
    );
  });

  it("refuses ranges that ADD would refuse", async () => {
    using host = new Host();
    await expect(host.call("STATUS", { ipam: { ranges: [] } })).rejects.toMatchObject(
      error(Code.InvalidNetworkConfig),
    );
  });
});

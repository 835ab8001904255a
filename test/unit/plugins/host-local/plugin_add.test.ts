import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import { Host, dual, error, small } from "./host.ts";

describe("ADD", () => {
  it("gives one address of each set, and keeps files as the reference plugin does", async () => {
    using host = new Host();
    expect(await host.add()).toEqual(["10.0.0.2/24 via 10.0.0.1", "fd00::2/64 via fd00::1"]);
    expect(host.files()).toEqual([
      "10.0.0.2",
      "fd00::2",
      "last_reserved_ip.0",
      "last_reserved_ip.1",
    ]);
    expect(readFileSync(`${host.folder}/10.0.0.2`, "utf8")).toBe("a\r\neth0");
    expect(readFileSync(`${host.folder}/last_reserved_ip.1`, "utf8")).toBe("fd00::2");
    expect(host.node.taken).toEqual([`${host.folder}/lock`]);
  });

  it("hands on routes and dns", async () => {
    using host = new Host();
    const resolvConf = `${host.dataDir}/resolv.conf`;
    writeFileSync(resolvConf, "nameserver 10.0.0.53\n");
    const ipam = { ...dual, resolvConf, routes: [{ dst: "0.0.0.0/0" }] };
    expect(await host.call("ADD", { ipam })).toMatchObject({
      interfaces: [],
      routes: [{ dst: { prefix: 0 } }],
      dns: { nameservers: ["10.0.0.53"] },
    });
  });

  it("reserves nothing where resolvConf cannot be read", async () => {
    using host = new Host();
    const resolvConf = `${host.dataDir}/none`;
    await expect(host.add({ ipam: { ...dual, resolvConf } })).rejects.toMatchObject(
      error(Code.IoFailure, resolvConf),
    );
    expect(host.files()).toBeUndefined();
  });
});

describe("ADD of a container that has an address", () => {
  it("is refused, naming the address, but not for another interface", async () => {
    using host = new Host();
    await host.add();
    const message = expect.stringMatching(/for eth0: it already has .*\b10\.0\.0\.2\b/);
    const refused = { ...error(Code.AlreadyAllocated), message };
    await expect(host.add()).rejects.toMatchObject(refused);
    await expect(host.add({ ip: "10.0.0.9" })).rejects.toMatchObject(refused);
    expect(await host.add({ ifname: "eth1" })).toEqual([
      "10.0.0.3/24 via 10.0.0.1",
      "fd00::3/64 via fd00::1",
    ]);
    expect(host.reserved()).toEqual(["10.0.0.2", "10.0.0.3", "fd00::2", "fd00::3"]);
  });

  it("is refused if the file names no interface", async () => {
    using host = new Host();
    host.put("10.0.0.7", "a");
    await expect(host.add()).rejects.toMatchObject(error(Code.AlreadyAllocated, "10.0.0.7"));
  });

  it("does not count what it has of other ranges", async () => {
    using host = new Host();
    host.put("192.0.2.7", "a\r\neth0");
    expect(await host.add({ ipam: small })).toEqual(["10.0.0.2/29 via 10.0.0.1"]);
  });
});

describe("ADD in a range that fills up", () => {
  it("says when a set is full, and keeps nothing of the others", async () => {
    using host = new Host();
    const ipam = { ranges: [[{ subnet: "fd00::/64" }], [{ subnet: "10.0.0.0/30" }]] };
    await host.add({ ipam });
    await expect(host.add({ id: "b", ipam })).rejects.toMatchObject(
      error(Code.Exhausted, "range set 1 (10.0.0.1-10.0.0.2): all 1 are reserved"),
    );
    expect(host.reserved()).toEqual(["10.0.0.2", "fd00::2"]);
  });

  it("uses it up, and then what is released, going round", async () => {
    using host = new Host();
    await host.addAll(["a", "b", "c", "d", "e"], small);
    const call = { id: "f", ipam: small };
    await expect(host.add(call)).rejects.toMatchObject(error(Code.Exhausted));
    await host.call("DEL", { id: "d" });
    expect(await host.add(call)).toEqual(["10.0.0.5/29 via 10.0.0.1"]);
  });

  it("H2 uses what a crash has left blank", async () => {
    using host = new Host();
    for (const name of ["10.0.0.2", "10.0.0.3"]) host.put(name, "");
    expect(await host.add({ ipam: small })).toEqual(["10.0.0.2/29 via 10.0.0.1"]);
    expect(readFileSync(`${host.folder}/10.0.0.2`, "utf8")).toBe("a\r\neth0");
  });

  it("passes over an address in whose place a folder is", async () => {
    using host = new Host();
    mkdirSync(`${host.folder}/10.0.0.2`, { recursive: true });
    expect(await host.add({ ipam: small })).toEqual(["10.0.0.3/29 via 10.0.0.1"]);
  });
});

describe("ADD with a requested address", () => {
  it("gives it, and goes on after it", async () => {
    using host = new Host();
    expect(await host.add({ ip: "10.0.0.40" })).toEqual([
      "10.0.0.40/24 via 10.0.0.1",
      "fd00::2/64 via fd00::1",
    ]);
    expect(await host.add({ id: "b" })).toContain("10.0.0.41/24 via 10.0.0.1");
  });

  it("is refused if somebody has it", async () => {
    using host = new Host();
    await host.add({ ip: "fd00::40" });
    await expect(host.add({ id: "b", ip: "fd00::40" })).rejects.toMatchObject(
      error(Code.Conflict, "Cannot give container b the requested fd00::40"),
    );
    expect(host.reserved()).toEqual(["10.0.0.2", "fd00::40"]);
  });

  it.each(["10.0.0.1", "10.9.9.9", "10.0.0.5,10.0.0.6"])("refuses to give %s", async (ip) => {
    using host = new Host();
    await expect(host.add({ ip })).rejects.toMatchObject(error(Code.InvalidNetworkConfig));
    expect(host.files()).toBeUndefined();
  });
});

/** H1: what an earlier boot reserved is free, and nothing else is. */
import { describe, expect, it } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import { Host, error, small } from "./host.ts";

/** A node whose range was full when it rebooted. */
async function full(): Promise<Host> {
  const host = new Host();
  await host.addAll(["a", "b", "c", "d", "e"], small);
  host.node.bootId = "boot-2";
  return host;
}

describe("H1 after a reboot", () => {
  it("ADD gives what was reserved before", async () => {
    using host = await full();
    expect(await host.add({ id: "f", ipam: small })).toEqual(["10.0.0.2/29 via 10.0.0.1"]);
    expect(host.text("10.0.0.2")).toBe("f\r\neth0");
    expect(host.reserved()).toEqual(["10.0.0.2"]);
  });

  it("ADD gives an address to a container that had one", async () => {
    using host = await full();
    expect(await host.add({ id: "c", ipam: small })).toEqual(["10.0.0.2/29 via 10.0.0.1"]);
    await host.call("DEL", { id: "c", ipam: small });
    expect(host.reserved()).toEqual([]);
  });

  it("ADD gives the very address that is requested", async () => {
    using host = await full();
    expect(await host.add({ id: "f", ip: "10.0.0.4", ipam: small })).toEqual([
      "10.0.0.4/29 via 10.0.0.1",
    ]);
  });

  it("ADD keeps what the reference has reserved, whenever that was", async () => {
    using host = await full();
    host.put("10.0.0.2", "x\r\neth0");
    host.put("10.0.0.4", "y");
    for (const address of ["10.0.0.3", "10.0.0.5", "10.0.0.6"]) {
      const [given] = await host.add({ id: `new-${address}`, ipam: small });
      expect(given).toBe(`${address}/29 via 10.0.0.1`);
    }
    await expect(host.add({ id: "f", ipam: small })).rejects.toMatchObject(error(Code.Exhausted));
    expect([host.text("10.0.0.2"), host.text("10.0.0.4")]).toEqual(["x\r\neth0", "y"]);
  });

  it("STATUS counts what is of this boot", async () => {
    using host = await full();
    await expect(host.call("STATUS", { ipam: small })).resolves.toBeUndefined();
    host.node.bootId = "boot-1";
    await expect(host.call("STATUS", { ipam: small })).rejects.toMatchObject(
      error(Code.LimitedConnectivity),
    );
  });

  it("CHECK misses the reservation", async () => {
    using host = await full();
    await expect(host.check("10.0.0.2/29")).rejects.toMatchObject(error(Code.CheckFailed));
  });

  it("DEL releases it", async () => {
    using host = await full();
    await host.call("DEL", { id: "b" });
    expect(host.reserved()).toEqual(["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
  });

  it("GC releases it, whoever is valid, and keeps what is new", async () => {
    using host = await full();
    host.put("10.0.0.2", "a\r\neth0");
    await host.gc(["a", "eth0"], ["b", "eth0"]);
    expect(host.reserved()).toEqual(["10.0.0.2"]);
  });
});

describe("H1 does not free an address", () => {
  it.each<{ what: string; change: (host: Host) => void }>([
    { what: "in the same boot", change: () => undefined },
    {
      what: "when the boot cannot be told",
      change: ({ node }) => {
        node.bootId = undefined;
      },
    },
    {
      what: "of another node, with which the folder is shared",
      change: ({ node }) => {
        node.bootId = "boot-2";
        node.hostName = "node-2";
      },
    },
  ])("$what", async ({ change }) => {
    using host = new Host();
    await host.addAll(["a", "b", "c", "d", "e"], small);
    change(host);
    await expect(host.add({ id: "f", ipam: small })).rejects.toMatchObject(error(Code.Exhausted));
    await expect(host.add({ id: "a", ipam: small })).rejects.toMatchObject(
      error(Code.AlreadyAllocated),
    );
    await host.gc(..."abcde".split("").map((id): [string, string] => [id, "eth0"]));
    expect(host.reserved()).toHaveLength(5);
  });

  it("where the file system has no extended attributes", async () => {
    using host = new Host();
    host.node.hasAttributes = false;
    await host.addAll(["a", "b", "c", "d", "e"], small);
    host.node.bootId = "boot-2";
    await expect(host.add({ id: "f", ipam: small })).rejects.toMatchObject(error(Code.Exhausted));
  });

  it("made in a boot that could not be told", async () => {
    using host = new Host();
    host.node.bootId = undefined;
    await host.addAll(["a", "b", "c", "d", "e"], small);
    host.node.bootId = "boot-2";
    await expect(host.add({ id: "f", ipam: small })).rejects.toMatchObject(error(Code.Exhausted));
  });
});

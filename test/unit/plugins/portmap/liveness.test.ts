import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { describeOwner, isGone, observe } from "../../../../plugins/portmap/liveness.ts";
import { forward, mapping } from "../../shared/firewall/forwards.ts";
import { record, request, temporaryFolder } from "./helpers.ts";

const one = forward();

/** A node with host-local's folder, and files that stand for namespaces. */
function node() {
  const temporary = temporaryFolder();
  const reservations = `${temporary.path}/networks`;
  mkdirSync(`${reservations}/net`, { recursive: true });
  const netns = `${temporary.path}/netns`;
  writeFileSync(netns, "");
  return {
    netns,
    inode: statSync(netns).ino,
    reservations,
    reserve: (address: string, text: string) => {
      writeFileSync(`${reservations}/net/${address}`, text);
    },
    [Symbol.dispose]: () => {
      temporary[Symbol.dispose]();
    },
  };
}

describe("observe", () => {
  it("sees the namespace and the reservation", () => {
    using host = node();
    host.reserve("10.244.1.2", "c1\r\neth0");
    const { netns, inode, reservations } = host;
    expect(observe(one, request("ADD", { netns }), reservations)).toEqual({
      netns,
      inode,
      reserved: true,
    });
  });

  it("sees that there are none", () => {
    using host = node();
    const seen = observe(one, request("ADD", { netns: "/nowhere" }), host.reservations);
    expect(seen).toMatchObject({ inode: 0, reserved: false });
  });

  it.each([
    ["c1", true],
    ["c1\n", true],
    [" c1 \r\neth0", true],
    ["c11\r\neth0", false],
    ["c2\r\nc1", false],
    ["", false],
  ])("takes %j for the container's own: %s", (text, reserved) => {
    using host = node();
    // Any of its addresses will do.
    host.reserve("fd00::2", text);
    expect(observe(one, request("ADD"), host.reservations).reserved).toBe(reserved);
  });
});

describe("a container", () => {
  it("is there while its namespace and its reservation are", () => {
    using host = node();
    const { netns, inode, reservations } = host;
    const of = record(one, { netns, inode });
    expect(isGone(of, reservations)).toBe(true);
    host.reserve("10.244.1.2", "c1\r\neth0");
    expect(isGone(of, reservations)).toBe(false);
    host.reserve("10.244.1.2", "c2\r\neth0");
    expect(isGone(of, reservations)).toBe(true);
  });

  it("is there while its namespace is, if it never had a reservation", () => {
    using host = node();
    const { netns, inode, reservations } = host;
    expect(isGone(record(one, { netns, inode, reserved: false }), reservations)).toBe(false);
    const other = record(one, { netns, inode: inode + 1, reserved: false });
    expect(isGone(other, reservations)).toBe(true);
    expect(isGone(record(one, { netns: "", inode: 0 }), reservations)).toBe(true);
  });

  it("of another plugin is there while any address of the network is its", () => {
    using host = node();
    const of = record(forward({ addresses: [] }), { netns: "", inode: 0, foreign: true });
    expect(isGone(of, host.reservations)).toBe(true);
    host.reserve("last_reserved_ip.0", "10.244.1.9");
    host.reserve("10.244.1.9", "c2\r\neth0");
    expect(isGone(of, host.reservations)).toBe(true);
    host.reserve("10.244.1.7", "c1\r\neth0");
    expect(isGone(of, host.reservations)).toBe(false);
    expect(isGone(of, `${host.reservations}/none`)).toBe(true);
  });
});

describe("describeOwner", () => {
  it("names the container, its addresses and its network", () => {
    expect(describeOwner(record(one), mapping("8080:80/tcp"))).toBe(
      "8080/tcp is mapped to container c1 (10.244.1.2, fd00::2) of network net",
    );
    expect(describeOwner(record(forward({ addresses: [] })), mapping("[fd00::1]:53:53/udp"))).toBe(
      "[fd00::1]:53/udp is mapped to container c1 of network net",
    );
  });
});

import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import {
  isElsewhere,
  isForeignGone,
  isGone,
  observe,
} from "../../../../plugins/portmap/liveness.ts";
import type { ListedHostPort } from "../../../../shared/firewall/port_forward.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { Node } from "../../../../shared/node/node.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";
import { forward } from "../../shared/firewall/forwards.ts";
import { record, temporaryFolder } from "./helpers.ts";

const ownForward = forward();

/** A node with host-local's folder, and files that stand for namespaces. */
function node() {
  const temporary = temporaryFolder();
  const reservations = `${temporary.path}/networks`;
  mkdirSync(`${reservations}/net`, { recursive: true });
  const netns = `${temporary.path}/netns`;
  writeFileSync(netns, "");
  const results = `${temporary.path}/results`;
  mkdirSync(results);
  return {
    netns,
    inode: statSync(netns).ino,
    reservations,
    results,
    surveyor: { node: new Node(sys), netns: "/nowhere", reservations, results },
    reserve: (address: string, text: string, network = "net") => {
      mkdirSync(`${reservations}/${network}`, { recursive: true });
      writeFileSync(`${reservations}/${network}/${address}`, text);
    },
    keep: (name: string) => {
      writeFileSync(`${results}/${name}`, "{}");
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
    const { netns, inode, surveyor } = host;
    expect(observe(ownForward, { ...surveyor, netns })).toEqual({ netns, inode, reserved: true });
  });

  it("sees that there are none", () => {
    using host = node();
    const seen = observe(ownForward, host.surveyor);
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
    expect(observe(ownForward, host.surveyor).reserved).toBe(reserved);
  });
});

describe("a container", () => {
  it("is there while its namespace and its reservation are", () => {
    using host = node();
    const { netns, inode, surveyor } = host;
    const known = record(ownForward, { netns, inode });
    expect(isGone(known, surveyor)).toBe(true);
    host.reserve("10.244.1.2", "c1\r\neth0");
    expect(isGone(known, surveyor)).toBe(false);
    host.reserve("10.244.1.2", "c2\r\neth0");
    expect(isGone(known, surveyor)).toBe(true);
  });

  it("is there while its namespace is, if it never had a reservation", () => {
    using host = node();
    const { netns, inode, surveyor } = host;
    expect(isGone(record(ownForward, { netns, inode, reserved: false }), surveyor)).toBe(false);
    const unreserved = record(ownForward, { netns, inode: inode + 1, reserved: false });
    expect(isGone(unreserved, surveyor)).toBe(true);
    expect(isGone(record(ownForward, { netns: "", inode: 0, reserved: false }), surveyor)).toBe(
      true,
    );
  });
});

describe("a container of rules that nothing is recorded of", () => {
  const listed: ListedHostPort = {
    owner: "c1",
    network: undefined,
    containerId: "c1",
    isCut: false,
    family: 4,
    protocol: "tcp",
    hostPort: 8080,
    hostIP: undefined,
    address: parseAddress("10.244.1.2"),
  };

  it("is there while a reservation of its address is its own, in any network", () => {
    using host = node();
    host.reserve("10.244.1.2", "c1\r\neth0", "other");
    expect(isForeignGone(listed, host.surveyor)).toBe(false);
    const cut = { ...listed, containerId: "c", isCut: true };
    expect(isForeignGone(cut, host.surveyor)).toBe(false);
    expect(isForeignGone({ ...listed, containerId: "c" }, host.surveyor)).toBe(true);
  });

  it("has gone when its address is another's, or its rules lead nowhere", () => {
    using host = node();
    host.reserve("10.244.1.2", "c2\r\neth0");
    expect(isForeignGone(listed, host.surveyor)).toBe(true);
    expect(isForeignGone({ ...listed, address: undefined }, host.surveyor)).toBe(true);
  });

  it("is elsewhere when another network has given it its address", () => {
    using host = node();
    expect(isElsewhere(listed, "net", host.surveyor)).toBe(false);
    host.reserve("10.244.1.2", "c1", "other");
    expect(isElsewhere(listed, "net", host.surveyor)).toBe(true);
    expect(isElsewhere(listed, "other", host.surveyor)).toBe(false);
    host.reserve("10.244.1.2", "c1", "net");
    expect(isElsewhere(listed, "net", host.surveyor)).toBe(false);
  });

  it("is elsewhere when the runtime has kept results of other networks alone", () => {
    using host = node();
    host.keep("net-c11-eth0");
    expect(isElsewhere(listed, "net", host.surveyor)).toBe(false);
    host.keep("a-network-c1-eth0");
    expect(isElsewhere(listed, "net", host.surveyor)).toBe(true);
    host.keep("net-c1-eth1");
    expect(isElsewhere(listed, "net", host.surveyor)).toBe(false);
  });
});

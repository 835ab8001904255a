import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { allocate, describeOwner } from "../../../../plugins/portmap/allocate.ts";
import { observe } from "../../../../plugins/portmap/liveness.ts";
import type { PortRecord } from "../../../../plugins/portmap/record.ts";
import { Code } from "../../../../shared/cni/error.ts";
import { Node } from "../../../../shared/node/node.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";
import { forward, mapping } from "../../shared/firewall/forwards.ts";
import type { ForwardText } from "../../shared/firewall/forwards.ts";
import { record, storeIn, temporaryFolder } from "./helpers.ts";

/** A node of which this much matters: records, namespaces' files and host-local's reservations. */
function node() {
  const temporary = temporaryFolder();
  const reservations = `${temporary.path}/networks`;
  mkdirSync(`${reservations}/net`, { recursive: true });
  const store = storeIn(`${temporary.path}/portmap`);
  const warnings: string[] = [];
  const warn = (line: string) => void warnings.push(line);
  const netnsOf = (id: string) => `${temporary.path}/${id}`;
  return {
    folder: `${temporary.path}/portmap`,
    store,
    warnings,
    /** Has a container ask for ports. @returns the ids of those whose rules go. */
    ask(id: string, mappings: readonly string[], more: ForwardText = {}): readonly string[] {
      const netns = netnsOf(id);
      writeFileSync(netns, "");
      const wanted = forward({ containerId: id, mappings, ...more });
      const surveyor = { node: new Node(sys), netns, reservations };
      const wants = record(wanted, observe(wanted, surveyor));
      return store.locked(() =>
        allocate({ store, warn }, wants, surveyor).map((granted) => granted.forward.containerId),
      );
    },
    reserve(address: string, id: string) {
      writeFileSync(`${reservations}/net/${address}`, `${id}\r\neth0`);
    },
    release(address: string) {
      rmSync(`${reservations}/net/${address}`);
    },
    die(id: string) {
      rmSync(netnsOf(id));
    },
    change(id: string, more: Partial<PortRecord>) {
      const own = store.read("net", { containerId: id, ifname: "eth0" });
      if (own !== undefined) store.write({ ...own, ...more });
    },
    /** Who has a port, by the index. */
    ownersOf: (text: string) =>
      store.ownersOf(mapping(text)).map((owner) => owner.forward.containerId),
    [Symbol.dispose]: () => {
      temporary[Symbol.dispose]();
    },
  };
}

/** What an error says of a port that another container has. */
function conflict(reason: string): object {
  const error: object = expect.objectContaining({
    code: Code.Conflict,
    message: `Cannot map a host port: ${reason}.`,
  });
  return error;
}

describe("a host port that nobody has", () => {
  it("is the container's that asks for it", () => {
    using host = node();
    expect(host.ask("a", ["8080:80/tcp", "53:53/udp"])).toEqual([]);
    expect(host.ownersOf("8080:1/tcp")).toEqual(["a"]);
    expect(host.ownersOf("53:1/udp")).toEqual(["a"]);
    expect(host.warnings).toEqual([]);
  });

  it.each([
    ["another port", "8080:80/tcp", "8081:80/tcp"],
    ["another protocol", "8080:80/tcp", "8080:80/udp"],
    ["another address", "192.0.2.1:8080:80/tcp", "192.0.2.2:8080:80/tcp"],
    ["another family", "192.0.2.1:8080:80/tcp", "[2001:db8::1]:8080:80/tcp"],
  ])("is one with %s", (_, first, second) => {
    using host = node();
    host.ask("a", [first]);
    expect(host.ask("b", [second])).toEqual([]);
  });
});

describe("a host port of a container that is there", () => {
  it.each([
    ["8080:80/tcp", "8080:81/tcp", "8080/tcp"],
    ["8080:80/tcp", "192.0.2.1:8080:80/tcp", "192.0.2.1:8080/tcp"],
    ["192.0.2.1:8080:80/tcp", "8080:80/tcp", "8080/tcp"],
    ["[2001:db8::1]:53:53/udp", "53:53/udp", "53/udp"],
  ])("%s is refused to another that asks for %s", (first, second, port) => {
    using host = node();
    host.ask("a", [first]);
    expect(() => host.ask("b", [second])).toThrow(
      conflict(`${port} is mapped to container a (10.244.1.2, fd00::2) of network net`),
    );
    expect(host.ownersOf(second)).toEqual(["a"]);
    expect(host.store.list()).toHaveLength(1);
  });

  it("is refused to another network's", () => {
    using host = node();
    host.ask("a", ["8080:80/tcp"]);
    expect(() => host.ask("b", ["8080:80/tcp"], { network: "other" })).toThrow("network net");
  });

  it("is refused for one of several, and the others stay free", () => {
    using host = node();
    host.ask("a", ["8081:80/tcp"]);
    expect(() => host.ask("b", ["8080:80/tcp", "8081:80/tcp"])).toThrow("8081/tcp is mapped");
    expect(host.ownersOf("8080:1/tcp")).toEqual([]);
  });

  it("is its own to map anew, and what it no longer maps is free", () => {
    using host = node();
    host.ask("a", ["8080:80/tcp", "8081:80/tcp"]);
    expect(host.ask("a", ["8080:81/tcp"])).toEqual(["a"]);
    expect(host.ownersOf("8081:1/tcp")).toEqual([]);
    expect(host.ask("b", ["8081:80/tcp"])).toEqual([]);
  });
});

describe("a host port of a container that is gone", () => {
  it("is the next one's when the namespace has gone", () => {
    using host = node();
    host.ask("a", ["8080:80/tcp"]);
    host.die("a");
    expect(host.ask("b", ["8080:80/tcp"])).toEqual(["a"]);
    expect(host.warnings).toEqual([
      "8080/tcp is mapped to container a (10.244.1.2, fd00::2) of network net, which is gone: its rules are removed.",
    ]);
  });

  it("is the next one's when the reservation has gone, if it had one", () => {
    using host = node();
    host.reserve("10.244.1.2", "a");
    host.ask("a", ["8080:80/tcp"]);
    host.release("10.244.1.2");
    expect(host.ask("b", ["8080:80/tcp"])).toEqual(["a"]);
  });

  it("is the next one's when another has the address by now", () => {
    using host = node();
    host.reserve("10.244.1.2", "a");
    host.ask("a", ["8080:80/tcp"]);
    host.reserve("10.244.1.2", "b");
    expect(host.ask("b", ["8080:80/tcp"])).toEqual(["a"]);
  });

  it("is the next one's when rules of it could not be removed", () => {
    using host = node();
    host.ask("a", ["8080:80/tcp"]);
    host.change("a", { leftover: true });
    expect(host.ask("b", ["8080:80/tcp"])).toEqual(["a"]);
  });

  it("is said once for each port, and the container is named once", () => {
    using host = node();
    host.ask("a", ["8080:80/tcp", "8081:80/tcp"]);
    host.die("a");
    expect(host.ask("b", ["8080:80/tcp", "8081:80/tcp"])).toEqual(["a"]);
    expect(host.warnings).toHaveLength(2);
  });
});

describe("a host port of a container that is leaving", () => {
  it("is the next one's, though the container is there still", () => {
    using host = node();
    host.ask("a", ["8080:80/tcp"]);
    host.change("a", { phase: "leaving" });
    expect(host.ask("b", ["8080:80/tcp"])).toEqual(["a"]);
  });

  it("is given up by one that is gone, so that nobody makes its rules again", () => {
    using host = node();
    host.ask("a", ["8080:80/tcp"]);
    host.die("a");
    host.ask("b", ["8080:80/tcp"]);
    const phases = host.store.list().map(({ forward: known, phase }) => [known.containerId, phase]);
    expect(Object.fromEntries(phases)).toEqual({ a: "leaving", b: "added" });
  });
});

describe("another interface of the same container", () => {
  it.each([
    ["in another network", { network: "other" }],
    ["in the same network", { ifname: "eth1" }],
  ])("%s has host ports of its own", (_, more) => {
    using host = node();
    host.ask("a", ["8080:80/tcp"]);
    expect(host.ask("a", ["8081:80/tcp"], more)).toEqual([]);
    expect(host.store.ofContainer("a")).toHaveLength(2);
    expect(host.warnings).toEqual([]);
  });

  it("may have the same host port, which is said", () => {
    using host = node();
    host.ask("a", ["8080:80/tcp"]);
    expect(host.ask("a", ["8080:80/tcp"], { ifname: "eth1" })).toEqual([]);
    expect(host.warnings).toEqual([
      "8080/tcp is mapped to container a (10.244.1.2, fd00::2) of network net too, by its interface eth0.",
    ]);
    expect(host.ownersOf("8080:1/tcp")).toEqual(["a", "a"]);
  });
});

describe("what an earlier version took from rules", () => {
  it("keeps nobody from a host port: the rules tell more", () => {
    using host = node();
    host.ask("a", ["8080:80/tcp"]);
    host.change("a", { foreign: true });
    expect(host.ask("b", ["8080:80/tcp"])).toEqual([]);
  });
});

describe("describeOwner", () => {
  it("names the container, its addresses and its network", () => {
    expect(describeOwner(forward(), mapping("8080:80/tcp"))).toBe(
      "8080/tcp is mapped to container c1 (10.244.1.2, fd00::2) of network net",
    );
    expect(describeOwner(forward({ addresses: [] }), mapping("[fd00::1]:53:53/udp"))).toBe(
      "[fd00::1]:53/udp is mapped to container c1 of network net",
    );
  });
});

describe("an index that cannot be written", () => {
  it("leaves neither a record nor a claim", () => {
    using host = node();
    host.ask("a", ["53:53/udp"]);
    // In the place of the folder.
    rmSync(`${host.folder}/ports`, { recursive: true });
    writeFileSync(`${host.folder}/ports`, "");
    expect(() => host.ask("b", ["8080:80/tcp", "8081:80/tcp"])).toThrow(
      expect.objectContaining({ code: Code.IoFailure }),
    );
    expect(host.ownersOf("8080:1/tcp")).toEqual([]);
    expect(host.store.list().map(({ forward: known }) => known.containerId)).toEqual(["a"]);
  });
});

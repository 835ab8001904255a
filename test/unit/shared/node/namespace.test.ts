/** Network namespaces of processes that these tests start. Needs root; the machine's own is only read. */
import { spawn } from "node:child_process";
import { closeSync, openSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { execaSync } from "execa";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";

import { Node, waitForCarrier, waitForDuplicateDetection } from "../../../../shared/node/node.ts";
import type { Link, Namespace } from "../../../../shared/node/node.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";
import type { Sys } from "../../../../shared/runtime/sys.ts";
import { removeLink } from "../../../../shared/netlink/removal.ts";

const isRoot = process.geteuid?.() === 0;
const own = "/proc/self/ns/net";
const EMFILE = 24;
const AF_NETLINK = 16;
const SOCK_RAW = 3;

/** A namespace that exists as long as a process. */
async function startNamespace(): Promise<{ path: string; end: () => void }> {
  const sleeper = spawn("unshare", ["--net", "sleep", "600"], { stdio: "ignore" });
  const path = `/proc/${String(sleeper.pid)}/ns/net`;
  // A machine full of tests starts a process late.
  await vi.waitFor(
    () => {
      expect(readlinkSync(path)).not.toBe(readlinkSync(own));
    },
    { timeout: 20_000 },
  );
  return { path, end: () => void sleeper.kill("SIGKILL") };
}

function openDescriptors(): string[] {
  return readdirSync("/proc/self/fd");
}

/** The namespace that the thread is in. */
function currentNamespace(): string {
  return readlinkSync("/proc/thread-self/ns/net");
}

function opened(node: Node, path: string): Namespace {
  const found = node.container(path, false);
  if (found === undefined) throw new Error(`there is nothing at ${path}`);
  return found;
}

describe.runIf(isRoot)("a node that was passed a namespace", () => {
  test("reaches it by its descriptor, whatever is at its path, and others by theirs", async () => {
    const { path, end } = await startNamespace();
    onTestFinished(end);
    const fd = openSync(path, "r");
    onTestFinished(() => {
      closeSync(fd);
    });
    const before = openDescriptors();
    {
      using node = new Node(sys, { netns: { path: "/nowhere/netns", fd } });
      expect(node.container("/nowhere/netns", false)?.link("lo")?.name).toBe("lo");
      expect(node.inodeOf("/nowhere/netns")).toBe(statSync(path).ino);
      expect([node.isOwn("/nowhere/netns"), node.isOwn(own)]).toEqual([false, true]);
      expect(node.container("/nowhere/other", false)).toBeUndefined();
    }
    // The descriptor is its owner's to close.
    expect(openDescriptors()).toEqual(before);
    expect(currentNamespace()).toBe(readlinkSync(own));
  });

  test("names its path where it is the node's own", () => {
    const fd = openSync(own, "r");
    onTestFinished(() => {
      closeSync(fd);
    });
    using node = new Node(sys, { netns: { path: "/nowhere/netns", fd } });
    expect(node.isOwn("/nowhere/netns")).toBe(true);
    expect(() => node.container("/nowhere/netns", false)).toThrow(
      "Cannot use the namespace /nowhere/netns: it is the host's own",
    );
  });
});

describe.runIf(isRoot)("a node", () => {
  const containers: { path: string; end: () => void }[] = [];
  const home = currentNamespace();
  beforeAll(async () => {
    containers.push(await startNamespace(), await startNamespace());
  });
  afterAll(() => {
    for (const { end } of containers) end();
  });
  const pathOf = (at: number): string => containers[at]?.path ?? "";

  test("opens what is asked for, once, and closes all of it", () => {
    const before = openDescriptors();
    const node = new Node(sys);
    expect(openDescriptors()).toEqual(before);
    expect(node.host.link("lo")?.name).toBe("lo");
    const container = opened(node, pathOf(0));
    expect(opened(node, pathOf(0))).toBe(container);
    opened(node, pathOf(1));
    // Each has its file and its socket.
    expect(openDescriptors()).toHaveLength(before.length + 6);
    node.close();
    expect(openDescriptors()).toEqual(before);
    // It opens them again, as a daemon needs it.
    expect(opened(node, pathOf(0)).link("lo")?.name).toBe("lo");
    node.close();
    node.close();
    expect(openDescriptors()).toEqual(before);
  });

  test("closes one container and keeps the others", () => {
    const before = openDescriptors();
    {
      using node = new Node(sys);
      const kept = opened(node, pathOf(1));
      opened(node, pathOf(0));
      node.closeContainer(pathOf(0));
      expect(openDescriptors()).toHaveLength(before.length + 4);
      node.closeContainer("/nothing");
      expect(kept.link("lo")?.name).toBe("lo");
    }
    expect(openDescriptors()).toEqual(before);
  });

  test("closes what it could not open to the end", () => {
    const before = openDescriptors();
    using node = new Node(sys);
    expect(node.container("/nothing/there", false)).toBeUndefined();
    const failures = [
      ["/dev/null", /must be a network namespace/],
      ["/proc/self/ns/mnt", /must be a network namespace/],
      [own, /the host's own/],
      [`/proc/${String(process.pid)}/ns/net`, /the host's own/],
    ] as const;
    for (const [path, message] of failures) {
      expect(() => node.container(path, false)).toThrow(
        expect.objectContaining({ kind: "invalid", message: expect.stringMatching(message) }),
      );
      expect(currentNamespace()).toBe(home);
    }
    expect(openDescriptors()).toHaveLength(before.length + 2);
    const broken: Sys = { ...sys, socket: () => -EMFILE };
    const failing = new Node(broken);
    expect(() => failing.host).toThrow("too many open files");
    expect(openDescriptors()).toHaveLength(before.length + 2);
    // The host's socket is open, the container's cannot be opened.
    let sockets = 0;
    const nearlyBroken: Sys = {
      ...sys,
      socket: (...args) => (++sockets > 1 ? -EMFILE : sys.socket(...args)),
    };
    const last = new Node(nearlyBroken);
    expect(() => last.container(pathOf(0), false)).toThrow("too many open files");
    expect(currentNamespace()).toBe(home);
    last.close();
    expect(openDescriptors()).toHaveLength(before.length + 2);
  });

  test("changes a container's links and sysctls, and never the node's own", () => {
    using node = new Node(sys);
    const container = opened(node, pathOf(0));
    onTestFinished(() => {
      execaSync("nsenter", [`--net=${pathOf(0)}`, "ip", "link", "delete", "nstest0"]);
    });
    container.apply([
      {
        kind: "create-bridge",
        name: "nstest0",
        mac: "02:00:00:00:00:07",
        mtu: 1400,
        vlanFiltering: false,
      },
      { kind: "set-sysctl", key: "net/ipv4/conf/nstest0/arp_notify", value: "1", optional: false },
      {
        kind: "add-address",
        link: "nstest0",
        address: parseCidr("10.5.0.1/24"),
        detectDuplicate: false,
      },
    ]);
    expect(currentNamespace()).toBe(home);
    const made = container.link("nstest0");
    expect(made).toMatchObject({ kind: "bridge", mac: "02:00:00:00:00:07", mtu: 1400, up: true });
    expect(made && container.addresses(made)).toContainEqual(parseCidr("10.5.0.1/24"));
    expect(container.sysctl("net/ipv4/conf/nstest0/arp_notify")).toBe("1");
    expect(container.linkTo(parseAddress("10.5.0.9"))).toBe("nstest0");
    expect(container.lookUp(["lo", "nothing", "nstest0"]).map((link) => link?.name)).toEqual([
      "lo",
      undefined,
      "nstest0",
    ]);
    expect(node.host.link("nstest0")).toBeUndefined();
    expect(node.host.sysctl("net/ipv4/conf/nstest0/arp_notify")).toBeUndefined();
    expect(() => {
      container.apply([
        {
          kind: "create-bridge",
          name: "nstest0",
          mac: "02:00:00:00:00:08",
          mtu: undefined,
          vlanFiltering: false,
        },
      ]);
    }).toThrow(expect.objectContaining({ kind: "kernel", errno: 17 }));
  });

  test("deletes no later link of the same name, however late the request is sent", () => {
    const name = "nstest1";
    const ip = (...args: string[]): unknown =>
      execaSync("nsenter", [`--net=${pathOf(0)}`, "ip", "link", ...args]);
    const late: { socket: number; request: Buffer }[] = [];
    using node = new Node(sys, {
      removeLink: (caller, removal) => {
        const socket = removal.inside(() => sys.socket(AF_NETLINK, SOCK_RAW, 0));
        const sendLate = (_fd: number, data: Uint8Array): boolean => {
          late.push({ socket, request: Buffer.from(data) });
          // Another call deletes it, and makes the next one.
          ip("delete", name);
          ip("add", name, "type", "bridge");
          return true;
        };
        return removeLink(sendLate, caller, removal);
      },
    });
    const container = opened(node, pathOf(0));
    ip("add", name, "type", "bridge");
    const index = container.indexOf(name);
    container.apply([{ kind: "delete-link", name, index }]);
    const next = container.link(name)?.index ?? 0;
    expect(next).toBeGreaterThan(index);
    onTestFinished(() => {
      ip("delete", name);
    });
    for (const { socket, request } of late) {
      expect(sys.send(socket, request, 0)).toBe(request.length);
      closeSync(socket);
    }
    expect(late).toHaveLength(1);
    expect(container.link(name)?.index).toBe(next);
    // The first one is gone, whatever has its name.
    using plain = new Node(sys);
    opened(plain, pathOf(0)).apply([{ kind: "delete-link", name, index }]);
    expect(container.link(name)?.index).toBe(next);
  });

  test("says which link is not there", () => {
    using node = new Node(sys);
    const address = parseCidr("10.5.0.1/24");
    expect(() => {
      opened(node, pathOf(0)).apply([
        { kind: "add-address", link: "nothing", address, detectDuplicate: false },
      ]);
    }).toThrow(expect.objectContaining({ kind: "kernel", errno: 19 }));
  });

  test("comes back from a namespace that it could not work in", () => {
    using node = new Node(sys);
    const container = opened(node, pathOf(0));
    expect(() => {
      container.apply([
        { kind: "set-sysctl", key: "net/ipv4/nothing", value: "1", optional: false },
      ]);
    }).toThrow("net.ipv4.nothing");
    expect(currentNamespace()).toBe(home);
  });
});

/** Links as they are looked up while their carrier is waited for. */
const up = { carrier: true, operational: true } as Link;
const unseen = { carrier: true, operational: false } as Link;
const stale = { carrier: false, operational: true } as Link;

/** The part of a namespace that a test needs. */
function namespace(parts: Partial<Namespace>): Namespace {
  return parts as Namespace;
}

describe("waiting", () => {
  test("for a carrier ends when all links have one", () => {
    const asked: (readonly string[])[] = [];
    const lookAgain = (names: readonly string[]) => {
      asked.push(names);
      return names.map(() => (asked.length > 3 ? up : unseen));
    };
    waitForCarrier(namespace({ lookAgain }), ["veth0", "cni0"], 5000);
    expect(asked).toEqual(Array.from({ length: 4 }, () => ["veth0", "cni0"]));
  });

  test("for a carrier has an end, and names the link", () => {
    expect(() => {
      waitForCarrier(namespace({ lookAgain: () => [up, stale] }), ["veth0", "cni0"], 10);
    }).toThrow(
      expect.objectContaining({ kind: "kernel", message: expect.stringContaining("cni0") }),
    );
  });

  test("for a link that is gone ends at once", () => {
    const start = performance.now();
    expect(() => {
      waitForCarrier(namespace({ lookAgain: () => [undefined] }), ["veth0"], 5000);
    }).toThrow("veth0: it has disappeared");
    expect(performance.now() - start).toBeLessThan(1000);
  });

  test("for duplicate address detection ends with what it found", () => {
    const states = ["running", "running", "none"] as const;
    let at = 0;
    waitForDuplicateDetection(
      namespace({ duplicateDetection: () => states[at++] ?? "none" }),
      "eth0",
      5000,
    );
    expect(at).toBe(3);
    const failing = namespace({ duplicateDetection: () => "failed" });
    expect(() => {
      waitForDuplicateDetection(failing, "eth0", 5000);
    }).toThrow(expect.objectContaining({ kind: "conflict" }));
    const running = namespace({ duplicateDetection: () => "running" });
    expect(() => {
      waitForDuplicateDetection(running, "eth0", 30);
    }).toThrow(expect.objectContaining({ kind: "busy" }));
  });
});

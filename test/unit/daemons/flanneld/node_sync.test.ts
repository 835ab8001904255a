import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { NodeSync } from "../../../../daemons/flanneld/node_sync.ts";
import type { NodeSetup } from "../../../../daemons/flanneld/node_setup.ts";
import { Failure } from "../../../../shared/base/failure.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { formatCidr } from "../../../../shared/net/cidr.ts";
import { context, daemonContext, eth0, leaseOf, nodeSetup } from "./daemon_parts.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "node-sync-"));
  file = join(folder, "subnet.env");
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Another address that the node has got. */
const moved = { ...eth0, publicIp: parseAddress("10.77.0.99") };

function nodeSync(setup: Partial<NodeSetup> = {}) {
  const told: string[] = [];
  const published: unknown[] = [];
  const { daemon, lines, stop } = daemonContext(file, published);
  const observed = { external: eth0, context, problem: undefined as Failure | undefined };
  const node = new NodeSync({
    ...{ daemon, setup: nodeSetup(setup) },
    reconciler: {
      configure: ({ lease, external }) => {
        told.push(`kernel ${lease.id} ${external.publicIp?.value}`);
      },
    },
    traffic: {
      configure: (subnets) => {
        told.push(`rules ${subnets.map(({ subnet }) => formatCidr(subnet)).join(" ")}`);
      },
    },
    peers: { restart: () => void told.push("peers") },
    observe: {
      external: () => {
        if (observed.problem !== undefined) throw observed.problem;
        return observed.external;
      },
      context: ({ subnet }) => ({
        ...observed.context,
        ownSubnets: [subnet].filter((known) => known !== undefined),
      }),
    },
  });
  return { node, told, published, observed, lines, stop };
}

it("brings the lease to the kernel, the rules and the peers before the file says that pods can come", async () => {
  const { node, told } = nodeSync();
  expect([node.external, node.mtu]).toEqual([undefined, undefined]);
  await node.begin(leaseOf(1));
  expect(told).toEqual([`kernel n1 ${eth0.publicIp?.value}`, "rules 10.244.1.0/24", "peers"]);
  expect([node.lease?.id, node.mtu]).toEqual(["n1", 1450]);
  await node.writeFile();
  expect(readFileSync(file, "utf8")).toContain("FLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\n");
});

it("tells nobody where nothing has changed", async () => {
  const { node, told, published } = nodeSync();
  await node.begin(leaseOf(1));
  told.length = 0;
  node.follow();
  await vi.waitFor(() => readFileSync(file, "utf8"));
  expect([told, published]).toEqual([[], []]);
  node.followAnew();
  await vi.waitFor(() => {
    expect(told).toHaveLength(3);
  });
});

it("follows another address, and tells peers of it once the kernel knows", async () => {
  const { node, told, published, observed } = nodeSync();
  await node.begin(leaseOf(1));
  told.length = 0;
  observed.external = moved;
  node.follow();
  await vi.waitFor(() => {
    expect(published).toEqual([moved.publicIp]);
  });
  expect(told[0]).toBe(`kernel n1 ${moved.publicIp.value}`);
});

it("follows another lease, also while there is no interface", async () => {
  const { node, told, observed, lines } = nodeSync();
  await node.begin(leaseOf(1));
  told.length = 0;
  observed.problem = new Failure("missing", "Cannot find it.", "Make one.");
  node.setLease(leaseOf(5));
  await vi.waitFor(() => {
    expect(lines.join()).toContain("Cannot find it. Make one.");
  });
  observed.problem = undefined;
  await vi.waitFor(() => {
    expect(readFileSync(file, "utf8")).toContain("10.244.5.1/24");
  });
  expect(told).toContain("rules 10.244.5.0/24");
});

it.each(["lease", "interface"])(
  "follows another %s that comes before the start is over",
  async (what) => {
    const { node, told, published, observed } = nodeSync();
    await node.prepare(leaseOf(1), eth0);
    if (what === "lease") node.setLease(leaseOf(5));
    else {
      observed.external = moved;
      node.follow();
    }
    await node.begin(leaseOf(1));
    await node.writeFile();
    await vi.waitFor(() => {
      expect(readFileSync(file, "utf8")).toContain(
        what === "lease" ? "10.244.5.1/24" : "10.244.1.1/24",
      );
      expect(published).toEqual(what === "lease" ? [] : [moved.publicIp]);
    });
    const last = told.findLast((line) => line.startsWith("kernel"));
    expect(last).toBe(
      what === "lease" ? `kernel n5 ${eth0.publicIp?.value}` : `kernel n1 ${moved.publicIp.value}`,
    );
  },
);

it("has what reaches peers by other means follow before the file is written again", async () => {
  const followed: string[] = [];
  const follow = async ({ id }: { readonly id: string }) => void followed.push(id);
  const keeper = { follow } as unknown as NonNullable<NodeSetup["keeper"]>;
  const earlierBackends = { follow } as unknown as NodeSetup["earlierBackends"];
  const { node } = nodeSync({ keeper, earlierBackends });
  await node.prepare(leaseOf(1), eth0);
  await node.begin(leaseOf(1));
  expect(followed).toEqual(["n1", "n1"]);
  node.setLease(leaseOf(5));
  await vi.waitFor(() => readFileSync(file, "utf8"));
  expect(followed).toEqual(["n1", "n1", "n5", "n5"]);
});

it("ends without a failure when it is aborted while it waits", async () => {
  const { node, observed, stop, lines } = nodeSync();
  await node.begin(leaseOf(1));
  observed.problem = new Failure("missing", "Cannot find it.", "Make one.");
  node.follow();
  await vi.waitFor(() => {
    expect(lines.join()).toContain("Cannot find it.");
  });
  stop.abort();
  // A rejection that nobody handles would fail the test now.
  await setImmediate();
});

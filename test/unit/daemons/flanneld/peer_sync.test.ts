import { expect, it } from "vitest";

import type { KeptPeers } from "../../../../daemons/flanneld/peer_keeper.ts";
import { PeerSync } from "../../../../daemons/flanneld/peer_sync.ts";
import type { PeerLeases } from "../../../../daemons/flanneld/leases/lease_manager.ts";
import type { Lease } from "../../../../shared/flannel/lease.ts";
import { context, leaseOf } from "./daemon_parts.ts";

interface Parts {
  /** The ids of peers that the keeper has tried; undefined where it does not tell. */
  readonly tried?: Set<string>;
  readonly hasKeeper?: boolean;
  /** Types of the backends that this node had before. */
  readonly earlierTypes?: readonly string[];
}

const typesOf = (leases: Iterable<Lease>) =>
  [...leases].map(({ id, attributes }) => `${id} ${attributes.backendType}`).join(", ");

/** A PeerSync, and what it has passed on. */
function peerSync({ tried, hasKeeper = tried !== undefined, earlierTypes = [] }: Parts = {}) {
  const toReconciler: string[] = [];
  const toKeeper: string[] = [];
  const refused: ReadonlyMap<string, string>[] = [];
  const confirmed: string[] = [];
  const keeper = {
    setPeers: (leases: Iterable<Lease>, isComplete: boolean) => {
      toKeeper.push(`${typesOf(leases)}${isComplete ? "" : ", ..."}`);
    },
    ...(tried === undefined ? {} : { hasTried: ({ id }: Lease) => tried.has(id) }),
  };
  const sync = new PeerSync({
    ...{ sys: { collectYoung: () => {} }, backendType: "vxlan" },
    reconciler: {
      setPeers: (leases, isComplete) => {
        toReconciler.push(`${typesOf(leases.values())}${isComplete ? "" : ", ..."}`);
      },
      whenIdle: async () => {},
    },
    keeper: hasKeeper ? keeper : undefined,
    earlierBackends: {
      has: (type) => earlierTypes.includes(type),
      notice: () => {},
      setPeers: keeper.setPeers,
      statuses: earlierTypes.map(
        (): KeptPeers => ({ wanted: 0, programmed: 0, ignored: 0, failed: [] }),
      ),
    },
    refusals: { update: (all) => void refused.push(all) },
    confirm: (ids) => void confirmed.push(...ids),
  });
  return { sync, toReconciler, toKeeper, refused, confirmed };
}

const peersOf = (...leases: readonly Lease[]): PeerLeases => ({
  leases: new Map(leases.map((lease) => [lease.id, lease])),
  ...{ unreadable: new Map(), complete: true, changed: undefined },
});

it("passes nothing on before it is known what this node has", () => {
  const { sync, toReconciler } = peerSync();
  sync.update(peersOf(leaseOf(2)));
  sync.noteTried();
  sync.noteRefusals(new Map());
  expect([toReconciler, sync.admitted]).toEqual([[], undefined]);
  sync.restart(context);
  expect(toReconciler).toEqual(["n2 vxlan"]);
});

it("passes on who is admitted, and has the rest logged with those that the reconciler refuses", () => {
  const { sync, toReconciler, refused, confirmed } = peerSync();
  sync.restart(context);
  sync.update(peersOf(leaseOf(2), leaseOf(1), { ...leaseOf(3), subnet: leaseOf(2).subnet }));
  expect(toReconciler).toEqual(["n2 vxlan"]);
  expect(confirmed.toSorted()).toEqual(["n2", "n3"]);
  sync.noteRefusals(new Map([["n2", "no VTEP"]]));
  expect([...(refused.at(-1)?.keys() ?? [])].toSorted()).toEqual(["n1", "n2", "n3"]);
});

it("admits anew when this node's lease is another", () => {
  const { sync, toReconciler } = peerSync();
  sync.restart(context);
  sync.update(peersOf(leaseOf(2), leaseOf(3)));
  sync.restart({
    ...context,
    ownSubnets: [leaseOf(3).subnet].filter((known) => known !== undefined),
  });
  expect(toReconciler).toEqual(["n2 vxlan, n3 vxlan", "n2 vxlan"]);
});

it("keeps the way to a peer that has changed to a backend that this node does not have", () => {
  const { sync, toReconciler } = peerSync({ earlierTypes: ["ipip"] });
  sync.restart(context);
  sync.update(peersOf(leaseOf(2), leaseOf(3)));
  sync.update(peersOf(leaseOf(2, "host-gw"), leaseOf(3, "ipip")));
  expect(toReconciler.at(-1)).toBe("n2 vxlan, n3 ipip");
});

it("takes no old way away before the keeper has tried the new one", () => {
  const tried = new Set<string>();
  const { sync, toReconciler } = peerSync({ tried });
  sync.restart(context);
  sync.update(peersOf(leaseOf(2)));
  expect(toReconciler).toEqual(["n2 vxlan, ..."]);
  tried.add("n2");
  sync.noteTried();
  expect(toReconciler.at(-1)).toBe("n2 vxlan");
  sync.noteTried();
  expect(toReconciler).toHaveLength(2);
});

it("does not wait for the keeper to try a peer that the reconciler refuses", () => {
  const { sync, toReconciler } = peerSync({ tried: new Set() });
  sync.noteRefusals(new Map([["n2", "no VTEP"]]));
  sync.restart(context);
  sync.update(peersOf(leaseOf(2)));
  expect(toReconciler).toEqual(["n2 vxlan"]);
});

it("tells the keeper of those that the reconciler has not refused", () => {
  const { sync, toKeeper } = peerSync({ hasKeeper: true });
  sync.restart(context);
  sync.update(peersOf(leaseOf(2), leaseOf(3)));
  expect(toKeeper).toEqual([]);
  sync.noteRefusals(new Map([["n3", "no VTEP"]]));
  // The second time it is for the earlier backends.
  expect(toKeeper).toEqual(["n2 vxlan", "n2 vxlan"]);
});

it("introduces peers and takes none away", async () => {
  const { sync, toReconciler } = peerSync();
  await sync.introduce(context);
  expect(toReconciler).toEqual([]);
  sync.update(peersOf(leaseOf(1), leaseOf(2)));
  await sync.whenComplete();
  await sync.introduce(context);
  expect(toReconciler).toEqual(["n2 vxlan, ..."]);
});

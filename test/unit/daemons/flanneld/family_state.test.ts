import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { PeerObjects } from "../../../../daemons/flanneld/backends/backend.ts";
import { FamilyState } from "../../../../daemons/flanneld/family_state.ts";
import { flannelProtocol } from "../../../../daemons/flanneld/node_routes.ts";
import type { PeerState } from "../../../../daemons/flanneld/peer_state.ts";
import type { Address } from "../../../../shared/net/address.ts";
import { formatAddress, parseAddress } from "../../../../shared/net/address.ts";
import { formatCidr, parseCidr } from "../../../../shared/net/cidr.ts";
import type { ListedFdbEntry, NeighbourEntry } from "../../../../shared/netlink/neighbour.ts";
import { isDone } from "../../../../shared/netlink/overlay_change.ts";
import type { TableRoute } from "../../../../shared/netlink/route.ts";
import { KernelModel } from "./kernel_model.ts";

const [eth0, device] = [2, 3];
const name = "flannel.1";
const network = parseCidr("10.244.0.0/16");

function family(): FamilyState {
  const made = new FamilyState(4, {
    networks: [network],
    ownSubnets: [parseCidr("10.244.1.0/24")],
    isDevice: (link) => link === device,
    isPeer: () => false,
  });
  made.learnDevices(new Map([[name, device]]));
  return made;
}

const mac = (last: number) => `02:00:00:00:00:0${last}`;
const publicIp = (last: number) => parseAddress(`10.77.0.${last}`);

/** Numbers of the peer's subnet, its MAC and its address; a mac of 0 is one without a tunnel. */
interface PeerParts {
  readonly subnet: number;
  readonly mac: number;
  readonly address: number;
}

function state({ subnet, mac: number, address }: PeerParts): PeerState {
  const gateway = parseAddress(`10.244.${subnet}.0`);
  const objects: PeerObjects =
    number === 0
      ? { vtepMac: undefined, gateway: publicIp(address), link: eth0 }
      : { vtepMac: mac(number), gateway, link: name };
  const peer = {
    id: `n${subnet}`,
    subnet: parseCidr(`10.244.${subnet}.0/24`),
    publicIp: publicIp(address),
    backendType: "vxlan",
    backendData: null,
  };
  return {
    ...{ peer, objects, refusal: undefined, failure: undefined },
    ...{ wasKnown: false, wasProgrammed: false },
  };
}

const anyPeers = fc
  .uniqueArray(
    fc.record({
      subnet: fc.integer({ min: 2, max: 6 }),
      mac: fc.integer({ min: 0, max: 9 }),
      address: fc.integer({ min: 2, max: 6 }),
    }),
    { selector: ({ subnet }) => subnet },
  )
  .map((peers) =>
    peers.filter(
      (peer, at) =>
        peer.mac === 0 || peers.findIndex((candidate) => candidate.mac === peer.mac) === at,
    ),
  );

const anyNeighbours: fc.Arbitrary<NeighbourEntry[]> = fc.uniqueArray(
  fc.record({
    address: fc.integer({ min: 2, max: 8 }).map((subnet) => parseAddress(`10.244.${subnet}.0`)),
    mac: fc.integer({ min: 1, max: 9 }).map(mac),
    permanent: fc.boolean(),
  }),
  { selector: ({ address }) => address.value },
);

const anyFdb: fc.Arbitrary<ListedFdbEntry[]> = fc.uniqueArray(
  fc.record({
    mac: fc.integer({ min: 1, max: 9 }).map(mac),
    dst: fc.option(fc.integer({ min: 2, max: 6 }).map(publicIp), { nil: undefined }),
    permanent: fc.boolean(),
  }),
  { selector: (entry) => `${entry.mac} ${entry.dst?.value}` },
);

const anyRoutes: fc.Arbitrary<TableRoute[]> = fc.uniqueArray(
  fc
    .record({
      subnet: fc.integer({ min: 2, max: 8 }),
      direct: fc.boolean(),
      address: fc.integer({ min: 2, max: 6 }),
      protocol: fc.constantFrom(3, flannelProtocol),
    })
    .map(({ subnet, direct, address, protocol }) => ({
      dst: parseCidr(`10.244.${subnet}.0/24`),
      type: "unicast" as const,
      gateway: direct ? publicIp(address) : parseAddress(`10.244.${subnet}.0`),
      link: direct ? eth0 : device,
      onlink: !direct,
      // By another gateway the Go program's cannot be told from a user's.
      protocol: direct ? flannelProtocol : protocol,
      metric: 0,
      multipath: false,
    })),
  { selector: ({ dst }) => dst.address.value },
);

const present = fc.record({ neighbours: anyNeighbours, fdb: anyFdb, routes: anyRoutes });

function dump(tables: FamilyState, kernel: KernelModel): void {
  tables.tunnel(name).learnNeighbours(kernel.neighbours);
  tables.tunnel(name).learnFdb(kernel.fdb);
  tables.routes.learnAll(kernel.routes);
}

/** Carries out what is planned, some at a time, as the reconciler does. */
function apply(tables: FamilyState, kernel: KernelModel, canDelete: boolean): void {
  for (let round = 0; round < 100; round++) {
    const [next] = tables.changes(
      () => false,
      canDelete,
      (_, message) => {
        throw new Error(message);
      },
    );
    if (next === undefined) return;
    const errno = kernel.execute(next.change);
    if (!isDone(next.change, errno)) throw new Error(`${next.change.kind}: errno ${errno}`);
    next.made();
  }
  throw new Error("it does not come to an end");
}

function place(address: Address | undefined): string {
  return address === undefined ? "?" : formatAddress(address);
}

/** What the kernel has of peers, as text. */
function contents(kernel: KernelModel) {
  return {
    neighbours: kernel.neighbours
      .flatMap((entry) => (entry.permanent ? [`${place(entry.address)} ${entry.mac}`] : []))
      .toSorted(),
    fdb: kernel.fdb
      .flatMap((entry) => (entry.permanent ? [`${entry.mac} ${place(entry.dst)}`] : []))
      .toSorted(),
    routes: kernel.routes
      .map(
        ({ dst, gateway, link, onlink, protocol }) =>
          `${formatCidr(dst)} ${place(gateway)} ${link} ${onlink} ${protocol}`,
      )
      .toSorted(),
  };
}

/** What a kernel has in which nothing was but what peers want. */
function ideal(peers: readonly PeerParts[]) {
  const [tables, kernel] = [family(), new KernelModel()];
  for (const peer of peers) expect(tables.claim(state(peer))).toBeUndefined();
  apply(tables, kernel, true);
  return contents(kernel);
}

describe("what peers want of a family", () => {
  it("is what is there in the end, whatever was there before", () => {
    fc.assert(
      fc.property(anyPeers, present, (peers, before) => {
        const [tables, kernel] = [family(), Object.assign(new KernelModel(), before)];
        dump(tables, kernel);
        for (const peer of peers) expect(tables.claim(state(peer))).toBeUndefined();
        apply(tables, kernel, true);
        expect(contents(kernel)).toEqual(ideal(peers));
        expect(
          kernel.routes.every(({ protocol }) => protocol !== 3 || kernel.routes.length > 0),
        ).toBe(true);
        // A dump says the same as what was believed.
        dump(tables, kernel);
        expect([
          ...tables.changes(
            () => false,
            true,
            () => {},
          ),
        ]).toEqual([]);
      }),
    );
  });

  it("is what is there after any changes of peers", () => {
    fc.assert(
      fc.property(fc.array(anyPeers, { minLength: 1, maxLength: 5 }), (history) => {
        const [tables, kernel] = [family(), new KernelModel()];
        let known: PeerState[] = [];
        for (const peers of history) {
          for (const old of known) tables.release(old);
          known = peers.map(state);
          for (const peer of known) expect(tables.claim(peer)).toBeUndefined();
          apply(tables, kernel, true);
          expect(contents(kernel)).toEqual(ideal(peers));
          expect(known.every((peer) => tables.isProgrammed(peer))).toBe(true);
        }
      }),
    );
  });

  it("takes nothing away before all peers are known", () => {
    fc.assert(
      fc.property(anyPeers, present, (peers, before) => {
        const [tables, kernel] = [family(), Object.assign(new KernelModel(), before)];
        const destinations = new Set(before.routes.map(({ dst }) => dst.address.value));
        dump(tables, kernel);
        for (const peer of peers) tables.claim(state(peer));
        apply(tables, kernel, false);
        const left = new Set(kernel.routes.map(({ dst }) => dst.address.value));
        expect([...destinations].every((dst) => left.has(dst))).toBe(true);
        expect(kernel.neighbours.length).toBeGreaterThanOrEqual(before.neighbours.length);
        // The peers that are known have all they need.
        const want = ideal(peers);
        expect(contents(kernel).routes).toEqual(expect.arrayContaining(want.routes));
        expect(contents(kernel).neighbours).toEqual(expect.arrayContaining(want.neighbours));
      }),
    );
  });

  it("is repaired by events alone", () => {
    const [tables, kernel] = [family(), new KernelModel()];
    const peer = state({ subnet: 2, mac: 2, address: 2 });
    tables.claim(peer);
    apply(tables, kernel, true);
    const [route] = kernel.routes;
    const [neighbour] = kernel.neighbours;
    const [entry] = kernel.fdb;
    if (route === undefined || neighbour === undefined || entry === undefined) throw new Error();
    expect(tables.routes.learn(route, true)).toBe(false);
    tables.tunnel(name).learnNeighbour(neighbour, true);
    tables.tunnel(name).learnFdbEntry(entry, true);
    expect(tables.isProgrammed(peer)).toBe(false);
    const changes = [
      ...tables.changes(
        () => false,
        true,
        () => {},
      ),
    ];
    expect(changes.map(({ change }) => change.kind)).toEqual([
      "set-fdb",
      "set-neighbour",
      "set-route",
    ]);
  });

  it("has room for one peer with a subnet or a MAC", () => {
    const tables = family();
    const first = state({ subnet: 2, mac: 2, address: 2 });
    expect(tables.claim(first)).toBeUndefined();
    expect(tables.claim(state({ subnet: 2, mac: 3, address: 3 }))).toBe(first);
    expect(tables.claim(state({ subnet: 3, mac: 2, address: 3 }))).toBe(first);
    tables.release(first);
    expect(tables.claim(state({ subnet: 2, mac: 3, address: 3 }))).toBeUndefined();
  });

  it("waits for the device, and begins anew with another one", () => {
    const tables = family();
    const kernel = new KernelModel();
    tables.learnDevices(new Map());
    tables.claim(state({ subnet: 2, mac: 2, address: 2 }));
    tables.claim(state({ subnet: 3, mac: 0, address: 3 }));
    const kinds = () =>
      [
        ...tables.changes(
          () => false,
          true,
          () => {},
        ),
      ].map(({ change }) => change.kind);
    expect(kinds()).toEqual(["set-route"]);
    tables.learnDevices(new Map([[name, device]]));
    apply(tables, kernel, true);
    expect(kinds()).toEqual([]);
    tables.learnDevices(new Map([[name, 9]]));
    expect(kinds()).toEqual(["set-fdb", "set-neighbour", "set-route"]);
  });

  it("leaves out a peer that waits to be tried again", () => {
    const tables = family();
    tables.claim(state({ subnet: 2, mac: 2, address: 2 }));
    const refused = state({ subnet: 3, mac: 3, address: 3 });
    tables.claim(refused);
    const owners = [
      ...tables.changes(
        (peer) => peer !== refused,
        true,
        () => {},
      ),
    ];
    expect(new Set(owners.map(({ owner }) => owner))).toEqual(new Set([refused]));
  });

  it("tells of another program's route in the way, and makes none", () => {
    const tables = family();
    const peer = state({ subnet: 2, mac: 2, address: 2 });
    tables.routes.learnAll([
      {
        ...{ dst: peer.peer.subnet, type: "unicast", gateway: publicIp(9), link: eth0 },
        ...{ onlink: false, protocol: 12, metric: 0, multipath: false },
      },
    ]);
    tables.claim(peer);
    const conflicts: string[] = [];
    const changes = [
      ...tables.changes(
        () => false,
        true,
        (_, message) => conflicts.push(message),
      ),
    ];
    expect(changes.map(({ change }) => change.kind)).not.toContain("set-route");
    expect(conflicts).toEqual(["another program has a route to 10.244.2.0/24 by 10.77.0.9"]);
  });
});

describe("a subnet without pods", () => {
  it("drops packets by a route that any other comes before", () => {
    const [tables, kernel] = [family(), new KernelModel()];
    const own = parseCidr("10.244.1.0/24");
    tables.wantBlackholes([own]);
    apply(tables, kernel, true);
    expect(kernel.routes).toMatchObject([
      { dst: own, type: "blackhole", metric: 0xffff_ffff, protocol: flannelProtocol },
    ]);
    tables.wantBlackholes([]);
    apply(tables, kernel, true);
    expect(kernel.routes).toEqual([]);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";

import {
  decideRoute,
  flannelProtocol,
  isOwnRoute,
  isSameRoute,
  subnetConflict,
} from "../../../../daemons/flanneld/node_routes.ts";
import type { RouteOwnership } from "../../../../daemons/flanneld/node_routes.ts";
import { parseAddress, sameAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import type { NewRoute, TableRoute } from "../../../../shared/netlink/route.ts";
import { KernelModel } from "./kernel_model.ts";

const [boot, kernel, bird] = [3, 2, 12];
const [eth0, flannel] = [2, 3];
const network = parseCidr("10.244.0.0/16");
const peers = [parseAddress("10.77.0.12"), parseAddress("10.77.0.13")];
const ownership: RouteOwnership = {
  networks: [network],
  ownSubnets: [parseCidr("10.244.1.0/24")],
  isDevice: (link) => link === flannel,
  isPeer: (address) => peers.some((peer) => sameAddress(peer, address)),
};

function route(dst: string, parts: Partial<TableRoute> = {}): TableRoute {
  return {
    dst: parseCidr(dst),
    type: "unicast",
    gateway: undefined,
    link: eth0,
    onlink: false,
    protocol: boot,
    metric: 0,
    multipath: false,
    ...parts,
  };
}

const via = (text: string) => ({ gateway: parseAddress(text) });

describe("a route is flanneld's", () => {
  it.each([
    ["through its device", route("10.244.2.0/24", { link: flannel, ...via("10.244.2.0") })],
    ["through its device, of an earlier network", route("10.5.2.0/24", { link: flannel })],
    ["of its own number in the network", route("10.244.9.0/24", { protocol: flannelProtocol })],
    ["of the Go program by a peer", route("10.244.9.0/24", via("10.77.0.12"))],
    ["of the Go program that drops", route("10.244.1.0/24", { type: "blackhole", link: 0 })],
  ])("%s", (_, found) => {
    expect(isOwnRoute(found, false, ownership)).toBe(true);
  });

  it("of the Go program to a peer's subnet by an address that the peer has had", () => {
    const found = route("10.244.2.0/24", via("10.77.0.99"));
    expect(isOwnRoute(found, true, ownership)).toBe(true);
    expect(isOwnRoute(found, false, ownership)).toBe(false);
  });

  it.each([
    ["the kernel's", route("10.244.2.0/24", { protocol: kernel, link: flannel })],
    ["a routing daemon's", route("10.244.2.0/24", { protocol: bird, ...via("10.77.0.12") })],
    ["of its own number in another network", route("10.9.2.0/24", { protocol: flannelProtocol })],
    ["a user's outside of the network", route("10.9.2.0/24", via("10.77.0.12"))],
    ["a user's that drops another subnet", route("10.244.7.0/24", { type: "blackhole", link: 0 })],
    ["a user's without a gateway", route("10.244.2.0/24")],
    ["the default route", route("0.0.0.0/0", via("10.77.0.12"))],
  ])("but not %s", (_, found) => {
    expect(isOwnRoute(found, true, ownership)).toBe(false);
  });
});

const wantedRoute: NewRoute = {
  dst: parseCidr("10.244.2.0/24"),
  via: { gateway: parseAddress("10.244.2.0"), link: flannel, onlink: true },
  protocol: flannelProtocol,
  metric: undefined,
};

/** Any route to the place of the wanted one. */
const anyRoute = fc
  .record({
    gateway: fc.constantFrom("10.244.2.0", "10.77.0.12", "10.77.0.99", undefined),
    link: fc.constantFrom(eth0, flannel),
    protocol: fc.constantFrom(boot, kernel, bird, flannelProtocol),
    metric: fc.constantFrom(0, 0, 100),
    type: fc.constantFrom("unicast" as const, "blackhole" as const),
  })
  .map(({ gateway, ...parts }) =>
    route("10.244.2.0/24", {
      ...parts,
      // A request to delete a route cannot tell apart two that differ in this alone.
      onlink: parts.link === flannel,
      gateway: gateway === undefined ? undefined : parseAddress(gateway),
    }),
  );

const own = (found: TableRoute) => isOwnRoute(found, true, ownership);

describe("the routes to one place", () => {
  it("become the wanted one and those of others, or stay where another's is in the way", () => {
    fc.assert(
      fc.property(fc.array(anyRoute, { maxLength: 4 }), (before) => {
        const kernelModel = new KernelModel();
        kernelModel.routes = [...before];
        const decision = decideRoute(wantedRoute, before, own);
        if (decision.set !== "no") {
          const replace = decision.set === "replace";
          expect(kernelModel.execute({ kind: "set-route", route: wantedRoute, replace })).toBe(0);
        }
        for (const stale of decision.stale) {
          expect(kernelModel.execute({ kind: "delete-route", route: stale })).toBe(0);
        }
        const foreign = before.filter((found) => !own(found));
        expect(kernelModel.routes).toEqual(expect.arrayContaining(foreign));
        const isBlocked = foreign.some(({ metric }) => metric === 0);
        expect(decision.conflict !== undefined).toBe(isBlocked);
        const ours = kernelModel.routes.filter(own);
        if (isBlocked) expect(ours.every((found) => isSameRoute(wantedRoute, found))).toBe(true);
        else
          expect(new Set(ours.map((found) => isSameRoute(wantedRoute, found)))).toEqual(
            new Set([true]),
          );
        // Once done, there is nothing more to do.
        const after = decideRoute(wantedRoute, kernelModel.routes, own);
        expect({ ...after, stale: after.stale.length }).toEqual({
          set: "no",
          stale: 0,
          conflict: isBlocked ? expect.anything() : undefined,
        });
      }),
    );
  });

  it("lose flanneld's and nothing else where none is wanted", () => {
    fc.assert(
      fc.property(fc.array(anyRoute, { maxLength: 4 }), (before) => {
        const { set, stale } = decideRoute(undefined, before, own);
        expect(set).toBe("no");
        expect(stale).toEqual(before.filter(own));
      }),
    );
  });
});

const node = (connected: string[], addresses: string[] = []) => ({
  connected: connected.map(parseCidr),
  addresses: addresses.map(parseAddress),
});

describe("a peer's subnet", () => {
  it.each([
    ["10.77.0.0/24", "10.0.0.0/8", node(["10.77.0.0/24"]), "overlaps 10.77.0.0/24"],
    ["10.77.0.0/16", "10.0.0.0/8", node(["10.77.0.0/24"]), "overlaps 10.77.0.0/24"],
    ["10.77.0.128/25", "10.0.0.0/8", node(["10.77.0.0/24"]), "overlaps 10.77.0.0/24"],
    ["10.244.0.0/16", "10.244.0.0/16", node(["10.244.3.0/24"]), "overlaps 10.244.3.0/24"],
    ["10.1.2.0/24", "10.0.0.0/8", node(["10.0.0.0/8"], ["10.1.2.3"]), "an address or a gateway"],
  ])("%s in %s is the node's own", (subnet, all, taken, why) => {
    expect(subnetConflict(parseCidr(subnet), parseCidr(all), undefined, taken)).toContain(why);
  });

  it.each(["10.244.1.0/24", "10.244.1.128/25", "10.244.0.0/23"])(
    "%s overlaps this node's",
    (subnet) => {
      const ownSubnet = parseCidr("10.244.1.0/24");
      const why = subnetConflict(
        parseCidr(subnet),
        parseCidr("10.244.0.0/16"),
        ownSubnet,
        node([]),
      );
      expect(why).toBe(`has the subnet ${subnet}, which overlaps this node's 10.244.1.0/24`);
    },
  );

  it.each([
    ["10.244.2.0/24", "10.244.0.0/16", node(["10.77.0.0/24"], ["10.77.0.11", "10.77.0.1"])],
    ["10.244.2.0/24", "10.244.0.0/16", node(["10.0.0.0/8"], ["10.1.2.3"])],
    ["10.244.2.0/24", "10.0.0.0/8", node(["10.0.0.0/8"], ["10.1.2.3"])],
    ["fd00:1:2::/64", "fd00:1::/48", node(["fd77::/64", "10.0.0.0/8"], ["fd77::11"])],
  ])("%s in %s is the peer's", (subnet, all, taken) => {
    expect(subnetConflict(parseCidr(subnet), parseCidr(all), undefined, taken)).toBeUndefined();
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { admit, PeerAdmission } from "../../../../../daemons/flanneld/leases/admission.ts";
import type { AdmissionContext } from "../../../../../daemons/flanneld/leases/admission.ts";
import { Churn } from "../../../../../shared/daemon/churn.ts";
import type { Lease } from "../../../../../shared/flannel/lease.ts";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { overlaps, parseCidr } from "../../../../../shared/net/cidr.ts";

const here: AdmissionContext = {
  network: parseCidr("10.0.0.0/8"),
  ipv6Network: parseCidr("fd00:244::/48"),
  ownSubnets: [parseCidr("10.244.1.0/24"), parseCidr("fd00:244:0:1::/64")],
  ownAddresses: [parseAddress("10.77.0.11"), parseAddress("fd77::11")],
  nodeNetworks: [parseCidr("10.77.0.0/24"), parseCidr("fd77::/64")],
};

interface Parts {
  readonly subnet?: string | undefined;
  readonly subnetV6?: string | undefined;
  readonly publicIp?: string | undefined;
  readonly publicIpv6?: string | undefined;
  readonly since?: number;
}

function read<T>(text: string | undefined, parse: (text: string) => T): T | undefined {
  return text === undefined ? undefined : parse(text);
}

function peer(id: string, parts: Parts = {}): Lease {
  const all = {
    subnet: "10.244.2.0/24",
    subnetV6: "fd00:244:0:2::/64",
    publicIp: "10.77.0.12",
    publicIpv6: "fd77::12",
    ...parts,
  };
  return {
    id,
    subnet: read(all.subnet, parseCidr),
    subnetV6: read(all.subnetV6, parseCidr),
    attributes: {
      publicIp: read(all.publicIp, parseAddress),
      publicIpv6: read(all.publicIpv6, parseAddress),
      backendType: "vxlan",
      backendData: undefined,
      backendV6Data: undefined,
    },
    since: parts.since ?? 0,
  };
}

describe("admit", () => {
  it("admits a peer as it is", () => {
    const lease = peer("n2");
    expect(admit(lease, here)).toBe(lease);
  });

  it("admits a peer in a network of pods that is inside of the nodes'", () => {
    const nodes = { ...here, nodeNetworks: [parseCidr("10.0.0.0/8")] };
    const lease = peer("n2");
    expect(admit(lease, { ...nodes, network: parseCidr("10.244.0.0/16") })).toBe(lease);
  });

  it("leaves out a family that has no network here", () => {
    const lease = peer("n2", { subnetV6: "fd99::/64", publicIpv6: undefined });
    expect(admit(lease, { ...here, ipv6Network: undefined })).toEqual({
      ...lease,
      subnetV6: undefined,
    });
  });

  it.each(["::", "::1", "ff02::1", "fd77::11", "fd00:244:0:1::5"])(
    "leaves out %s, which nothing can be sent to, of a family without a subnet",
    (publicIpv6) => {
      const lease = peer("n2", { subnetV6: undefined, publicIpv6 });
      const attributes = { ...lease.attributes, publicIpv6: undefined };
      expect(admit(lease, here)).toEqual({ ...lease, attributes });
    },
  );

  it("leaves an address of a family without a subnet, which wireguard may send to", () => {
    const lease = peer("n2", { subnetV6: undefined });
    expect(admit(lease, here)).toBe(lease);
  });

  it.each<[Parts, string]>([
    [{ subnet: undefined, subnetV6: undefined }, "it has no subnet"],
    [
      { subnet: "192.168.7.0/24" },
      "its subnet 192.168.7.0/24 is outside of the network 10.0.0.0/8",
    ],
    [{ subnet: "0.0.0.0/0" }, "is outside of the network"],
    [{ subnetV6: "fd00::/16" }, "its subnet fd00::/16 is outside of the network fd00:244::/48"],
    [{ subnet: "10.244.1.0/24" }, "its subnet 10.244.1.0/24 overlaps this node's"],
    [{ subnet: "10.244.1.128/25" }, "overlaps this node's"],
    [{ subnet: "10.0.0.0/8" }, "overlaps this node's"],
    [{ subnetV6: "fd00:244:0:1::/64" }, "overlaps this node's"],
    [{ subnet: "10.77.0.0/24" }, "overlaps 10.77.0.0/24 on an interface of this node"],
    [{ subnet: "10.77.0.12/32" }, "overlaps 10.77.0.0/24"],
    [{ publicIp: undefined }, "it has no public address for its subnet 10.244.2.0/24"],
    [{ publicIpv6: undefined }, "it has no public address for its subnet fd00:244:0:2::/64"],
    [{ publicIp: "fd77::12" }, "must be an address that packets can be sent to"],
    [{ publicIp: "127.0.0.1" }, "must be an address that packets can be sent to"],
    [{ publicIp: "0.0.0.0" }, "must be an address that packets can be sent to"],
    [{ publicIp: "0.1.2.3" }, "must be an address that packets can be sent to"],
    [{ publicIp: "224.0.0.1" }, "must be an address that packets can be sent to"],
    [{ publicIp: "255.255.255.255" }, "must be an address that packets can be sent to"],
    [{ publicIpv6: "ff02::1" }, "must be an address that packets can be sent to"],
    [{ publicIp: "10.77.0.11" }, "its public address 10.77.0.11 is this node's"],
    [{ publicIp: "10.244.2.7" }, "its public address 10.244.2.7 is in a subnet of pods"],
    [{ publicIp: "10.244.1.7" }, "its public address 10.244.1.7 is in a subnet of pods"],
  ])("refuses %j", (parts, problem) => {
    expect(admit(peer("n2", parts), here)).toContain(problem);
  });
});

function admission() {
  const leases = new Map<string, Lease>();
  /** What who goes by the changes alone knows of. */
  const followed = new Map<string, Lease>();
  const admitting = new PeerAdmission(here, new Churn(() => undefined));
  const update = (...changes: readonly (Lease | string)[]) => {
    for (const change of changes) {
      if (typeof change === "string") leases.delete(change);
      else leases.set(change.id, change);
    }
    const told = {
      ...{ leases, unreadable: new Map<string, string>(), complete: true },
      changed: new Set(changes.map((change) => (typeof change === "string" ? change : change.id))),
    };
    const { leases: admitted, refused, changed } = admitting.update(told);
    for (const id of changed ?? new Set([...followed.keys(), ...admitted.keys()])) {
      const lease = admitted.get(id);
      if (lease === undefined) followed.delete(id);
      else followed.set(id, lease);
    }
    expect(new Set(followed.values())).toEqual(new Set(admitted.values()));
    return { admitted: [...admitted.keys()].toSorted(), refused: Object.fromEntries(refused) };
  };
  return { admitting, update };
}

function v4(id: string, subnet: string, since: number): Lease {
  return peer(id, { subnet, subnetV6: undefined, since });
}

describe("PeerAdmission", () => {
  it("leaves a subnet to the older of two, whichever comes first", () => {
    const { update } = admission();
    const [old, young] = [v4("n2", "10.1.2.0/24", 1), v4("n3", "10.1.2.0/24", 2)];
    expect(update(young).admitted).toEqual(["n3"]);
    expect(update(old)).toEqual({
      admitted: ["n2"],
      refused: { n3: "its subnet is that of n2 already" },
    });
    expect(update("n2")).toEqual({ admitted: ["n3"], refused: {} });
    expect(update("n3")).toEqual({ admitted: [], refused: {} });
  });

  it("sees overlaps of unlike lengths", () => {
    const { update } = admission();
    update(v4("a", "10.1.2.0/24", 1), v4("b", "10.1.3.0/24", 2), v4("wide", "10.1.0.0/16", 3));
    expect(update(v4("narrow", "10.1.3.128/25", 4))).toEqual({
      admitted: ["a", "b"],
      refused: {
        wide: "its subnet is that of a already",
        narrow: "its subnet is that of b already",
      },
    });
    expect(update("a", "b").admitted).toEqual(["wide"]);
  });

  it("decides about all peers anew in another context", () => {
    const { admitting, update } = admission();
    expect(update(v4("n2", "10.1.2.0/24", 1)).admitted).toEqual(["n2"]);
    admitting.restart({ ...here, ownSubnets: [parseCidr("10.1.2.0/24")] });
    expect(update().refused).toEqual({ n2: "its subnet 10.1.2.0/24 overlaps this node's" });
  });

  it("comes to the same in whatever order the peers come and go, and admits no overlap", () => {
    const lease = fc
      .record({
        id: fc.nat(6),
        third: fc.nat(3),
        prefix: fc.constantFrom(22, 23, 24, 25),
        since: fc.nat(3),
      })
      .map(({ id, third, prefix, since }) => {
        const value =
          (BigInt(0x0a0a0000 + third * 256) >> BigInt(32 - prefix)) << BigInt(32 - prefix);
        const subnet = { address: { family: 4 as const, value }, prefix };
        return { ...v4(`n${id}`, "10.1.2.0/24", since), subnet };
      });
    const anyChange = fc.oneof(
      { weight: 3, arbitrary: lease },
      fc.nat(6).map((id) => `n${id}`),
    );
    fc.assert(
      fc.property(fc.array(anyChange, { maxLength: 20 }), (changes) => {
        const { update } = admission();
        const now = new Map<string, Lease>();
        let last = update();
        for (const change of changes) {
          if (typeof change === "string") now.delete(change);
          else now.set(change.id, change);
          last = update(change);
        }
        const fresh = admission().update(...now.values());
        expect(last.admitted).toEqual(fresh.admitted);
        const subnets = last.admitted.flatMap((id) => now.get(id)?.subnet ?? []);
        for (const [at, subnet] of subnets.entries()) {
          expect(subnets.slice(at + 1).some((later) => overlaps(subnet, later))).toBe(false);
        }
      }),
    );
  });
});

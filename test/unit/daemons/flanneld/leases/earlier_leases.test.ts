import { expect, it } from "vitest";
import { EarlierLeases } from "../../../../../daemons/flanneld/leases/earlier_leases.ts";
import type { Lease } from "../../../../../shared/flannel/lease.ts";
import { parseAddress } from "../../../../../shared/net/address.ts";
import { parseCidr } from "../../../../../shared/net/cidr.ts";

const lease = (backendType: string, subnet = "10.244.2.0/24", publicIp = "10.77.0.12"): Lease => ({
  ...{ id: "n2", subnet: parseCidr(subnet), subnetV6: undefined, since: 0 },
  attributes: {
    ...{ publicIp: parseAddress(publicIp), publicIpv6: undefined, backendType },
    ...{ backendData: undefined, backendV6Data: undefined },
  },
});
const changed = new Set(["n2"]);
const vxlanNode = () => new EarlierLeases((type) => type === "vxlan");
const mapOf = (...leases: readonly Lease[]) => new Map(leases.map((known) => [known.id, known]));

it("keeps the lease of a peer that has changed to a backend that this node does not have", () => {
  const leases = vxlanNode();
  const [before, after, back] = [lease("vxlan"), lease("host-gw"), lease("vxlan")];
  expect(leases.update(mapOf(before), undefined).get("n2")).toBe(before);
  expect(leases.update(mapOf(after), changed).get("n2")).toBe(before);
  expect(leases.update(mapOf(lease("ipip")), undefined).get("n2")).toBe(before);
  expect(leases.update(mapOf(back), changed).get("n2")).toBe(back);
});

it.each([
  ["another subnet", lease("host-gw", "10.244.3.0/24")],
  ["another address", lease("host-gw", "10.244.2.0/24", "10.77.0.13")],
])("takes the new one of a peer with %s", (_, after) => {
  const leases = vxlanNode();
  leases.update(mapOf(lease("vxlan")), undefined);
  expect(leases.update(mapOf(after), changed).get("n2")).toBe(after);
});

it("takes what it hears first, and forgets what is gone", () => {
  const leases = vxlanNode();
  const first = lease("host-gw");
  expect(leases.update(mapOf(first), undefined).get("n2")).toBe(first);
  expect(leases.update(new Map(), changed).size).toBe(0);
  leases.update(mapOf(lease("vxlan")), undefined);
  expect(leases.update(new Map(), undefined).size).toBe(0);
  const again = lease("host-gw");
  expect(leases.update(mapOf(again), changed).get("n2")).toBe(again);
});

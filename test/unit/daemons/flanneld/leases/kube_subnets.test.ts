import { describe, expect, test } from "vitest";

import { assignedSubnets } from "../../../../../daemons/flanneld/leases/kube_subnets.ts";
import { formatCidr, parseCidr } from "../../../../../shared/net/cidr.ts";

const network = parseCidr("10.244.0.0/16");
const ipv6Network = parseCidr("fd00:244::/48");
const dualStack = { network, ipv6Network };
const only4 = { network, ipv6Network: undefined };
const both = ["10.244.1.0/24", "fd00:244:0:1::/64"];

function subnetsOf(podCidrs: readonly string[] | undefined, conf: typeof dualStack | typeof only4) {
  const { subnet, subnetV6 } = assignedSubnets(
    { name: "n1", podCidrs },
    conf,
    "/etc/net-conf.json",
  );
  return [subnet, subnetV6].map((cidr) => cidr && formatCidr(cidr));
}

describe("assignedSubnets", () => {
  test.each([
    ["both families", both, dualStack, both],
    ["both, in the other order", both.toReversed(), dualStack, both],
    ["the network's family alone", both, only4, ["10.244.1.0/24", undefined]],
  ])("has %s", (_, podCidrs, conf, expected) => {
    expect(subnetsOf(podCidrs, conf)).toEqual(expected);
  });

  test.each([
    [undefined, "it has no IPv4 podCIDR yet"],
    [[], "it has no IPv4 podCIDR yet"],
    [["10.244.1.0/24"], "it has no IPv6 podCIDR yet"],
    [["x"], 'its podCIDR must be a subnet (got "x")'],
    [["10.9.1.0/24"], "its podCIDR 10.9.1.0/24 is outside of the network 10.244.0.0/16"],
    [["10.0.0.0/8"], "its podCIDR 10.0.0.0/8 is outside of the network 10.244.0.0/16"],
  ])("refuses %j", (podCidrs, why) => {
    expect(() => subnetsOf(podCidrs, dualStack)).toThrow(
      `Cannot get a subnet for the node n1: ${why}`,
    );
  });
});

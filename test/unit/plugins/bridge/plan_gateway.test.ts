import { describe, expect, test } from "vitest";

import { planGateways, replacements } from "../../../../plugins/bridge/plan_gateway.ts";
import { formatCidr, parseCidr } from "../../../../shared/net/cidr.ts";
import type { LinkChange } from "../../../../shared/netlink/change.ts";
import { bridge, conf, link } from "./helpers.ts";

const pod = link("veth00000009", { index: 9, master: bridge.index, peer: 2 });
/** The node's own link into a VLAN, and the bridge's port at its other end. */
const vlanLink = link("cni0.100", { index: 10, peer: 11 });
const vlanPort = link("veth0000000a", { index: 11, peer: 10, master: bridge.index });

/** The plan for a bridge with these addresses and ports, as "add 10.1.2.1/24". */
function planned(
  wanted: readonly string[],
  addresses: readonly string[],
  links = [pod],
  config = conf,
): string[] {
  const observed = { bridge, addresses: addresses.map(parseCidr), links: [bridge, ...links] };
  return planGateways(config, wanted.map(parseCidr), observed).map(shown);
}

function shown(change: LinkChange): string {
  if (change.kind === "add-address") return `add ${formatCidr(change.address)}`;
  return change.kind === "delete-address" ? `delete ${formatCidr(change.address)}` : change.kind;
}

describe("gateway addresses", () => {
  test("that the bridge has are left as they are", () => {
    expect(planned(["10.1.2.1/24"], ["10.1.2.1/24", "fe80::1/64"])).toEqual([]);
    expect(planned([], ["10.9.9.1/24"])).toEqual([]);
  });

  test("replace another IPv4 address while nothing is attached", () => {
    expect(planned(["10.1.2.1/24"], ["10.9.9.1/24"], [])).toEqual([
      "delete 10.9.9.1/24",
      "add 10.1.2.1/24",
    ]);
  });

  test("are refused when pods are attached, with both addresses and a command", () => {
    expect(() => planned(["10.1.2.1/24"], ["10.9.9.1/24"])).toThrow(
      expect.objectContaining({
        code: 102,
        message: expect.stringMatching(/10\.1\.2\.1\/24.*10\.9\.9\.1\/24/),
        details: expect.stringContaining("ip addr del 10.9.9.1/24 dev cni0"),
      }),
    );
  });

  test("replace it all the same with forceAddress", () => {
    const forced = { ...conf, forceAddress: true };
    expect(planned(["10.1.2.1/24"], ["10.9.9.1/24"], [pod], forced)).toHaveLength(2);
  });

  test("let IPv6 addresses of other subnets be, and two of one call stand together", () => {
    expect(
      planned(["10.1.2.1/24", "10.1.3.1/24", "fd00::1/64"], ["fd99::1/64", "10.1.2.1/24"]),
    ).toEqual(["add 10.1.3.1/24", "add fd00::1/64"]);
  });

  test("replace an IPv6 address whose subnet is within theirs, or theirs within its", () => {
    for (const present of ["fd00::5/80", "fd00::5/48"]) {
      expect(planned(["fd00::1/64"], [present], [])).toEqual([
        `delete ${present}`,
        "add fd00::1/64",
      ]);
    }
  });

  test("delete an address once that two of them replace", () => {
    expect(planned(["10.1.2.1/24", "10.1.3.1/24"], ["10.9.9.1/24"], [])).toEqual([
      "delete 10.9.9.1/24",
      "add 10.1.2.1/24",
      "add 10.1.3.1/24",
    ]);
  });

  test("may be changed while only the node's own link into a VLAN is attached", () => {
    expect(planned(["10.1.2.1/24"], ["10.9.9.1/24"], [vlanLink, vlanPort])).toHaveLength(2);
    expect(() => planned(["10.1.2.1/24"], ["10.9.9.1/24"], [vlanLink, vlanPort, pod])).toThrow(
      "pods attached",
    );
    // A port whose peer has another index is a pod's, whatever the names.
    const stranger = { ...vlanPort, peer: 77 };
    expect(() => planned(["10.1.2.1/24"], ["10.9.9.1/24"], [vlanLink, stranger])).toThrow(
      "pods attached",
    );
  });
});

test("replacements are what makes an ADD look at all links", () => {
  const seen = ["10.9.9.1/24", "fd99::1/64"].map(parseCidr);
  expect(replacements(seen, [parseCidr("fd00::1/64")])).toEqual([]);
  expect(replacements(seen, [parseCidr("10.1.2.1/24")])).toEqual([
    { address: seen[0], gateway: parseCidr("10.1.2.1/24") },
  ]);
});

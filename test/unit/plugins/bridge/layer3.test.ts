import { describe, expect, test } from "vitest";

import { layer3 } from "../../../../plugins/bridge/layer3.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import { formatAddress, parseAddress } from "../../../../shared/net/address.ts";
import { formatCidr, parseCidr } from "../../../../shared/net/cidr.ts";
import { conf, ipam } from "./helpers.ts";

describe("layer3", () => {
  test("takes the first address of the subnet for the gateway that IPAM left out", () => {
    const { gateways, ips } = layer3(conf, ipam("10.1.2.77/24", "fd00::77/64"));
    expect(gateways.map(formatCidr)).toEqual(["10.1.2.1/24", "fd00::1/64"]);
    expect(ips.map(({ gateway }) => gateway && formatAddress(gateway))).toEqual([
      "10.1.2.1",
      "fd00::1",
    ]);
  });

  test("adds a default route for each family that has none", () => {
    const given = ipam("10.1.2.77/24", "fd00::77/64");
    const routes = [{ dst: parseCidr("0.0.0.0/0"), gw: parseAddress("10.1.2.9") }];
    const result = layer3({ ...conf, isDefaultGateway: true }, { ...given, routes });
    expect(
      result.routes.map(({ dst, gw }) => `${formatCidr(dst)} ${gw ? formatAddress(gw) : ""}`),
    ).toEqual(["0.0.0.0/0 10.1.2.9", "::/0 fd00::1"]);
  });

  test("gives the bridge no address when it is no gateway", () => {
    expect(layer3({ ...conf, isGateway: false }, ipam("10.1.2.77/24")).gateways).toEqual([]);
  });

  test("refuses an IPAM result without addresses", () => {
    expect(() => layer3(conf, emptyResult)).toThrow("host-local gave no address");
  });

  test("refuses an MTU that is too small for IPv6, and says so", () => {
    const small = { ...conf, mtu: 1279 };
    expect(layer3(small, ipam("10.1.2.77/24")).ips).toHaveLength(1);
    expect(layer3({ ...conf, mtu: 1280 }, ipam("fd00::77/64")).ips).toHaveLength(1);
    expect(() => layer3(small, ipam("10.1.2.77/24", "fd00::77/64"))).toThrow(
      expect.objectContaining({
        code: 7,
        message: expect.stringContaining("mtu must be at least 1280 (got 1279)"),
      }),
    );
  });
});

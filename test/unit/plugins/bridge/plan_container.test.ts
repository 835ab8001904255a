import { describe, expect, test } from "vitest";

import { layer3, noLayer3 } from "../../../../plugins/bridge/layer3.ts";
import { planAnnouncement, planContainer } from "../../../../plugins/bridge/plan_container.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import { conf, ipam } from "./helpers.ts";

function sysctls(address: string): string[] {
  return planContainer(conf, "eth0", layer3(conf, ipam(address))).flatMap((step) =>
    step.kind === "set-sysctl" ? [step.key] : [],
  );
}

describe("planContainer", () => {
  test("gives addresses before the link comes up, and routes after", () => {
    const net = layer3({ ...conf, isDefaultGateway: true }, ipam("10.1.2.77/24", "fd00::77/64"));
    const kinds = planContainer(conf, "eth0", net)
      .map(({ kind }) => kind)
      .filter((kind) => kind !== "set-sysctl");
    expect(kinds).toEqual(["add-address", "add-address", "set-link", "add-route", "add-route"]);
  });

  test("leads a route without a gateway by the gateway of its family", () => {
    const given = { ...ipam("10.1.2.77/24"), routes: [{ dst: parseCidr("10.0.0.0/8") }] };
    const route = planContainer(conf, "eth0", layer3(conf, given)).find(
      ({ kind }) => kind === "add-route",
    );
    expect(route).toMatchObject({ gw: parseAddress("10.1.2.1") });
  });

  test("switches IPv6 on only where there is an IPv6 address", () => {
    expect(sysctls("10.1.2.77/24")).not.toContain("net/ipv6/conf/eth0/disable_ipv6");
    for (const link of ["eth0", "lo"]) {
      expect(sysctls("fd00::77/64")).toContain(`net/ipv6/conf/${link}/disable_ipv6`);
    }
  });

  test("brings the link up, and nothing else, on layer 2 alone", () => {
    expect(planContainer(conf, "eth0", noLayer3)).toEqual([
      { kind: "set-link", name: "eth0", up: true },
    ]);
    expect(planContainer({ ...conf, leaveDown: true }, "eth0", noLayer3)).toEqual([]);
  });
});

test("the addresses are announced by telling the link its own MAC", () => {
  const mac = "02:00:00:00:00:02";
  expect(planAnnouncement("eth0", mac, layer3(conf, ipam("10.1.2.77/24")))).toEqual([
    { kind: "set-link", name: "eth0", mac },
  ]);
  expect(planAnnouncement("eth0", mac, noLayer3)).toEqual([]);
});

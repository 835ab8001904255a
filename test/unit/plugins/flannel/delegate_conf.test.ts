import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";
import { parseFlannelConf } from "../../../../plugins/flannel/conf.ts";
import { delegateConf } from "../../../../plugins/flannel/delegate_conf.ts";
import { parseSubnetEnv } from "../../../../shared/flannel/subnet_env.ts";
import { errorOf } from "../../error_of.ts";
import { request } from "./helpers.ts";

const golden = new URL("../../../golden/flannel/", import.meta.url);

function parse(raw: JsonObject) {
  return parseFlannelConf(raw, request("ADD"), () => undefined);
}

describe("delegateConf", () => {
  it.each(readdirSync(golden))("golden: %s", (name) => {
    const read = (file: string) => readFileSync(new URL(`${name}/${file}`, golden), "utf8");
    const conf = parse(JSON.parse(read("conf.json")) as JsonObject);
    const node = parseSubnetEnv(read("subnet.env"), "subnet.env");
    expect(`${JSON.stringify(delegateConf(conf, node))}\n`).toBe(read("delegate.json"));
  });

  it("says nothing about what is not known", () => {
    const conf = parse({ name: "cbr0", ipam: { dataDir: "/run/ipam" } });
    expect(delegateConf(conf, { networks: [], subnets: [], ipMasq: false })).toEqual({
      name: "cbr0",
      type: "bridge",
      isGateway: true,
      ipMasq: true,
      ipam: { type: "host-local", dataDir: "/run/ipam", routes: [] },
    });
  });

  it("says what of the subnets is known", () => {
    const subnets = [parseCidr("10.244.1.0/24")];
    const conf = delegateConf(parse({ name: "cbr0" }), { networks: [], subnets, ipMasq: false });
    expect(conf["ipam"]).toMatchObject({ ranges: [[{ subnet: "10.244.1.0/24" }]] });
  });
});

describe("parseFlannelConf", () => {
  it("has the documented defaults", () => {
    expect(parse({ name: "cbr0" })).toEqual({
      network: "cbr0",
      cniVersion: "",
      subnetFile: "/run/flannel/subnet.env",
      dataDir: "/var/lib/cni/flannel",
      delegate: {},
      ipam: {},
      runtimeConfig: undefined,
    });
  });

  it.each([
    [{ delegate: { name: "other" } }, "delegate.name"],
    [{ delegate: { ipam: { type: "host-local" } } }, "delegate.ipam"],
    [{ delegate: { type: 7 } }, "delegate.type"],
    [{ delegate: { type: null } }, "delegate.type"],
    [{ delegate: { type: "" } }, "delegate.type"],
    [{ delegate: { type: ".." } }, "delegate.type"],
    [{ delegate: { type: "../bridge" } }, "delegate.type"],
    [{ delegate: { type: "/bin/sh" } }, "delegate.type"],
    [{ delegate: { type: "flannel" } }, "delegate.type"],
    [{ delegate: [] }, "delegate"],
    [{ delegate: "bridge" }, "delegate"],
    [{ ipam: { routes: [{ gw: "10.0.0.1" }] } }, "ipam.routes[0].dst"],
    [{ ipam: { type: 1 } }, "ipam.type"],
    [{ subnetFile: 1 }, "subnetFile"],
    [{ dataDir: false }, "dataDir"],
    [{ runtimeConfig: [] }, "runtimeConfig"],
  ])("refuses %j", async (wrong, path) => {
    const { code, message } = await errorOf(() => parse({ name: "cbr0", ...wrong }));
    expect(code).toBe(Code.InvalidNetworkConfig);
    expect(message).toContain(`Cannot use ${path} in the flannel config`);
  });

  it.each(["DEL", "GC"] as const)("makes the best of anything for %s", (verb) => {
    const raw = { name: "cbr0", delegate: [], ipam: 1, dataDir: 2, runtimeConfig: "" };
    expect(parseFlannelConf(raw, request(verb), () => undefined)).toEqual(parse({ name: "cbr0" }));
  });
});
